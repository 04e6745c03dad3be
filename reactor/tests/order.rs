//! The order of what a callback asks for: whatever it says, in whatever order, each peer gets the
//! bytes that were said before its connection was ended, in that order, and no others.

use edgeloop_reactor::{Closed, ConnId, Data, Outbox, Protocol, Script};
use proptest::prelude::*;

const PEERS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Say {
    Send(usize),
    Broadcast,
    /// Once in a callback, for the connection whose callback it is: the first.
    Back,
    Finish(usize),
    HalfClose(usize),
    Close(usize),
    Abort(usize),
    Pause(usize),
}

fn say() -> impl Strategy<Value = Say> {
    prop_oneof![
        6 => (0..PEERS).prop_map(Say::Send),
        3 => Just(Say::Broadcast),
        3 => Just(Say::Back),
        1 => (0..PEERS).prop_map(Say::Finish),
        1 => (0..PEERS).prop_map(Say::HalfClose),
        1 => (0..PEERS).prop_map(Say::Close),
        1 => (0..PEERS).prop_map(Say::Abort),
        2 => (0..PEERS).prop_map(Say::Pause),
    ]
}

/// Says the steps of one callback each time that the first connection sends something.
struct Speaker {
    peers: Vec<ConnId>,
    callbacks: Vec<Vec<Say>>,
    /// The number of the next piece of output.
    piece: u8,
}

impl Speaker {
    fn piece(&mut self) -> [u8; 2] {
        self.piece = self.piece.wrapping_add(1);
        [self.piece; 2]
    }
}

impl Protocol for Speaker {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        let mut data = Some(data);
        for say in self.callbacks.pop().unwrap_or_default() {
            match say {
                Say::Send(peer) => {
                    let piece = self.piece();
                    out.send(self.peers[peer], &piece);
                }
                Say::Broadcast => {
                    let piece = self.piece();
                    out.broadcast(self.peers.iter().copied(), &piece);
                }
                Say::Back => {
                    if let Some(mut data) = data.take() {
                        data.copy_from_slice(&self.piece());
                        out.send_back(data);
                    }
                }
                Say::Finish(peer) => out.finish(self.peers[peer]),
                Say::HalfClose(peer) => out.half_close(self.peers[peer]),
                Say::Close(peer) => out.close(self.peers[peer]),
                Say::Abort(peer) => out.abort(self.peers[peer]),
                Say::Pause(peer) => {
                    out.pause(self.peers[peer]);
                    out.resume(self.peers[peer]);
                }
            }
        }
    }

    fn on_eof(&mut self, _: ConnId, _: &mut Outbox) {}

    fn on_close(&mut self, _: ConnId, _: Closed, _: &mut Outbox) {}
}

/// The outputs by the rule, and the number of callbacks that the first connection lived to hear.
fn expected(callbacks: &[Vec<Say>]) -> Vec<Vec<u8>> {
    let (mut outputs, mut ended, mut piece) = (vec![Vec::new(); PEERS], [false; PEERS], 0u8);
    let mut is_heard = true;
    for callback in callbacks {
        if !is_heard {
            break;
        }
        let mut has_data = true;
        for say in callback {
            let to: &[usize] = match say {
                Say::Send(peer) => &[*peer],
                Say::Broadcast => &[0, 1, 2],
                Say::Back if has_data => &[0],
                Say::Finish(peer) | Say::Close(peer) | Say::Abort(peer) => {
                    ended[*peer] = true;
                    is_heard &= *peer != 0;
                    continue;
                }
                Say::HalfClose(peer) => {
                    ended[*peer] = true;
                    continue;
                }
                Say::Back | Say::Pause(_) => continue,
            };
            has_data &= !matches!(say, Say::Back);
            piece = piece.wrapping_add(1);
            for peer in to.iter().filter(|peer| !ended[**peer]) {
                outputs[*peer].extend([piece; 2]);
            }
        }
    }
    outputs
}

proptest! {
    #[test]
    fn each_peer_gets_what_was_said_before_its_end(
        callbacks in prop::collection::vec(prop::collection::vec(say(), 0..8), 1..4),
    ) {
        let speaker = Speaker {
            peers: Vec::new(),
            callbacks: callbacks.iter().rev().cloned().collect(),
            piece: 0,
        };
        let mut script = Script::new(speaker);
        let peers: Vec<ConnId> = (0..PEERS).map(|_| script.open()).collect();
        script.call(|speaker, _| speaker.peers.clone_from(&peers));
        for _ in &callbacks {
            script.data(peers[0], b"go");
        }
        let outputs: Vec<Vec<u8>> = peers.iter().map(|id| script.take_output(*id)).collect();
        prop_assert_eq!(outputs, expected(&callbacks));
    }
}
