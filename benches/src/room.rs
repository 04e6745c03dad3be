//! Members of a chat that talk all at once, and hear each other.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::dial::{dial, named};

/// The number of members that talk, if there are so many.
const TALKERS_MAX: usize = 10;
/// The length of a line, its newline included.
const LINE_BYTES: usize = 64;
/// Room for the lines of all talkers in a round, and names.
const BUFFER_BYTES: usize = 2 * TALKERS_MAX * LINE_BYTES;

/// Members of a chat room. The first of them talk, all of them listen.
#[derive(Debug)]
pub struct Room {
    members: Vec<BufReader<TcpStream>>,
    talkers: usize,
    round: u64,
    /// The line of each talker in this round, as the others hear it.
    spoken: Vec<Vec<u8>>,
    /// The last line that was heard, kept for its memory.
    line: Vec<u8>,
}

impl Room {
    /// Lets so many members join, one after another.
    pub fn enter(at: SocketAddr, members: usize) -> io::Result<Room> {
        let members: io::Result<Vec<_>> = (0..members).map(|number| join(at, number)).collect();
        members.map(Room::of)
    }

    /// Lets so many members connect, without a name yet.
    pub fn knock(at: SocketAddr, members: usize) -> io::Result<Room> {
        let members: io::Result<Vec<_>> = (0..members).map(|_| knock(at)).collect();
        members.map(Room::of)
    }

    /// Receives the question for a name, on every connection.
    pub fn are_asked(&mut self) -> io::Result<()> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| hear(member, &mut self.line))
    }

    /// Each member gives its name.
    pub fn give_names(&mut self) -> io::Result<()> {
        let mut members = self.members.iter().enumerate();
        members.try_for_each(|(number, member)| give_name(member, number))
    }

    /// Receives the list of members, on every connection: with that, each has entered.
    pub fn are_told_the_members(&mut self) -> io::Result<()> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| hear_the_members(member, &mut self.line))
    }

    /// Receives the announcements of all others at the first member, one by one or of several in a
    /// line: nothing about them is left to be announced.
    pub fn first_hears_of_all(&mut self) -> io::Result<()> {
        let mut others = self.members.len() - 1;
        while others > 0 {
            hear(&mut self.members[0], &mut self.line)?;
            others = others
                .checked_sub(entered(&self.line))
                .ok_or_else(|| io::Error::other("more have entered than there are"))?;
        }
        Ok(())
    }

    fn of(members: Vec<BufReader<TcpStream>>) -> Room {
        let talkers = talkers(members.len());
        Room {
            members,
            talkers,
            round: 0,
            spoken: vec![Vec::new(); talkers],
            line: Vec::new(),
        }
    }

    /// Each talker says a line, then every member listens until it has heard all the others.
    pub fn round(&mut self) -> io::Result<()> {
        self.talk()?;
        self.listen_to_all()
    }

    /// Each talker says a line.
    pub fn talk(&mut self) -> io::Result<()> {
        self.round += 1;
        (0..self.talkers).try_for_each(|talker| self.speak(talker))
    }

    /// Every member listens until it has heard all the others.
    pub fn listen_to_all(&mut self) -> io::Result<()> {
        (0..self.members.len()).try_for_each(|member| self.listen(member))
    }

    fn speak(&mut self, talker: usize) -> io::Result<()> {
        let said = format!("{:<width$}\n", self.round, width = LINE_BYTES - 1);
        let spoken = &mut self.spoken[talker];
        spoken.clear();
        write!(spoken, "[{}] {said}", name(talker))?;
        let mut stream = self.members[talker].get_ref();
        stream.write_all(said.as_bytes()).map_err(named)
    }

    fn listen(&mut self, member: usize) -> io::Result<()> {
        let own = if member < self.talkers {
            1 << member
        } else {
            0
        };
        let mut missing = ((1_u32 << self.talkers) - 1) & !own;
        while missing != 0 {
            hear(&mut self.members[member], &mut self.line)?;
            // Announcements come at once, or a second later for many at once.
            if self.line.starts_with(b"* ") {
                continue;
            }
            let author = self.spoken.iter().position(|line| *line == self.line);
            let heard = author.map_or(0, |author| missing & 1 << author);
            if heard == 0 {
                return Err(io::Error::other("not what was said was heard"));
            }
            missing -= heard;
        }
        Ok(())
    }
}

/// The number of lines heard in a round of so many members: each talker's by all others.
#[must_use]
pub fn deliveries(members: usize) -> usize {
    talkers(members) * members.saturating_sub(1)
}

fn talkers(members: usize) -> usize {
    members.min(TALKERS_MAX)
}

/// A name of letters and digits, as the server wants it.
fn name(number: usize) -> String {
    format!("m{number}")
}

/// Gives a name, and receives the list of members.
fn join(at: SocketAddr, number: usize) -> io::Result<BufReader<TcpStream>> {
    let mut member = knock(at)?;
    let mut line = Vec::new();
    hear(&mut member, &mut line)?;
    give_name(&member, number)?;
    hear_the_members(&mut member, &mut line)?;
    Ok(member)
}

fn knock(at: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    Ok(BufReader::with_capacity(BUFFER_BYTES, dial(at)?))
}

fn give_name(member: &BufReader<TcpStream>, number: usize) -> io::Result<()> {
    let greeting = format!("{}\n", name(number));
    let mut stream = member.get_ref();
    stream.write_all(greeting.as_bytes()).map_err(named)
}

fn hear_the_members(member: &mut BufReader<TcpStream>, line: &mut Vec<u8>) -> io::Result<()> {
    hear(member, line)?;
    match line.starts_with(b"* The room ") {
        true => Ok(()),
        false => Err(io::Error::other("the server lets no member join")),
    }
}

/// The number of members that an announcement is about: `* m7 has ...`, `* 12 people have ...`.
fn entered(line: &[u8]) -> usize {
    let line = String::from_utf8_lossy(line);
    let Some(announced) = line.strip_prefix("* ") else {
        return 0;
    };
    match announced.split(' ').next().map(str::parse) {
        Some(Ok(several)) => several,
        _ => usize::from(announced.ends_with(" has entered the room\n")),
    }
}

/// One line, with its newline.
fn hear(member: &mut BufReader<TcpStream>, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    member.read_until(b'\n', line).map_err(named)?;
    match line.ends_with(b"\n") {
        true => Ok(()),
        false => Err(named(io::ErrorKind::UnexpectedEof.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// The results of two members on a server that tells the second this once both have spoken.
    fn complaint(told: &'static str) -> Option<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut members = [0, 1].map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"Who?\n").unwrap();
                let mut member = BufReader::new(stream);
                hear(&mut member, &mut Vec::new()).unwrap();
                member.get_ref().write_all(b"* The room is\n").unwrap();
                member
            });
            for member in &mut members {
                hear(member, &mut Vec::new()).unwrap();
            }
            let [mut first, mut second] = members.map(BufReader::into_inner);
            let line = format!("[m1] {:<63}\n", 1);
            first.write_all(line.as_bytes()).unwrap();
            second.write_all(told.as_bytes()).unwrap();
        });
        let mut room = Room::enter(address, 2).unwrap();
        let error = room.round().err();
        server.join().unwrap();
        error.map(|error| error.to_string())
    }

    /// The first talker's line in the first round.
    fn line() -> String {
        format!("[m0] {:<63}\n", 1)
    }

    fn wrong(told: String) {
        let complaint = complaint(told.leak());
        assert_eq!(complaint.as_deref(), Some("not what was said was heard"));
    }

    #[test]
    fn no_member_hears_its_own_line() {
        let counts = [0, 1, 2, 10, 1_000].map(deliveries);
        assert_eq!(counts, [0, 0, 2, 90, 9_990]);
    }

    #[test]
    fn an_announcement_is_of_one_or_of_several() {
        let lines = [
            "* m7 has entered the room\n",
            "* 12 people have entered\n",
            "[m0] 12 \n",
        ];
        assert_eq!(lines.map(|line| entered(line.as_bytes())), [1, 12, 0]);
    }

    #[test]
    fn what_was_said_is_heard_and_announcements_do_not_matter() {
        let told = format!("* m7 has entered the room\n{}", line());
        assert_eq!(complaint(told.leak()), None);
    }

    #[test]
    fn a_wrong_byte_is_found() {
        wrong(line().replace(" \n", "x\n"));
    }

    #[test]
    fn the_wrong_author_and_one_s_own_line_are_found() {
        wrong(line().replace("[m0]", "[m2]"));
        wrong(line().replace("[m0]", "[m1]"));
    }

    #[test]
    fn a_line_that_was_heard_before_is_found() {
        wrong(line().replace("] 1 ", "] 0 "));
    }

    #[test]
    fn a_line_without_end_is_found() {
        let unfinished = line().trim_end().to_owned();
        let complaint = complaint(unfinished.leak());
        assert_eq!(complaint.as_deref(), Some("the connection has ended"));
    }
}
