//! A member, as the state has it.

use std::net::IpAddr;
use std::sync::Arc;

use super::names::OwnedName;
use crate::backplane::entry::{MemberId, Present, TokenDigest};

/// A member of any server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identity.
    pub id: MemberId,
    /// Its name.
    pub name: OwnedName,
    /// Its room.
    pub room: Arc<OwnedName>,
    /// Its address, as far as it may be banned.
    pub address: Option<IpAddr>,
    /// The digest of its token, if it is a browser's.
    pub token: Option<TokenDigest>,
}

impl Member {
    /// The member as it is announced.
    #[must_use]
    pub fn present(&self) -> Present<'_> {
        Present {
            number: self.id.number,
            name: self.name.lent(),
            room: self.room.lent(),
            address: self.address,
            token: self.token,
        }
    }
}
