//! Faults of all kinds at random, one after another, while members talk and move: at the end all have
//! one order, and nothing is missing.
//!
//! `SEED=7 cargo test -p tests --test room chaos` repeats a run, as far as the machine allows.

use std::env;
use std::time::{Duration, Instant};

use tests::random::Random;
use tests::redis::Redis;
use tests::slow_link::{SlowLink, Way};

use crate::IS_GONE;
use crate::order::Day;
use crate::site::Site;

const MEMBERS: usize = 30;
/// Faults, and acts of members in each of them and after it.
const FAULTS: usize = 12;
const ACTS: usize = 40;
/// Longer than a server may be silent.
const GONE: Duration = Duration::from_secs(22);

/// A fault that the log heals, and that is over before a server counts as gone.
fn fault(redis: &mut Redis, links: &[SlowLink], random: &mut Random, meanwhile: &mut dyn FnMut()) {
    let link = &links[random.below(links.len())];
    let way = [Way::There, Way::Back][random.below(2)];
    let kind = random.below(5);
    println!("fault {kind}, {way:?}");
    match kind {
        0 => {
            redis.kill();
            meanwhile();
            redis.restart();
        }
        1 => {
            redis.signal("STOP");
            meanwhile();
            redis.signal("CONT");
        }
        2 => {
            link.cut(way);
            meanwhile();
            link.mend(way);
        }
        3 => {
            link.reset_all();
            meanwhile();
            link.reset_all();
        }
        _ => {
            // Bytes under way are lost: a reply, or a request.
            link.cut(way);
            meanwhile();
            link.reset_all();
            link.mend(way);
        }
    }
}

fn run(seed: u64) {
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut redis) = Redis::start(&options) else {
        return;
    };
    let target = ([127, 0, 0, 1], redis.port()).into();
    let links = [0, 1].map(|_| SlowLink::to(target, 64 * 1024));
    let urls = [
        redis.url(),
        format!("redis://{}", links[0].address()),
        format!("redis://{}", links[1].address()),
    ];
    let site = Site::start(&urls, &[]);
    let mut day = Day::new(&site, site.chats.len(), seed);
    let mut random = Random::new(seed);
    (0..MEMBERS).for_each(|_| day.enter(&site));
    let start = Instant::now();
    for _ in 0..FAULTS {
        day.act_for(&site, ACTS);
        let time = Duration::from_millis(random.below(700) as u64);
        println!("{:?}: a fault for {time:?}", start.elapsed());
        fault(&mut redis, &links, &mut random, &mut || {
            day.act_for(&site, ACTS);
            day.turn_for(time);
        });
    }
    println!("seed {seed}");
    // Members may have been told to wait, since servers wait longer and longer before they connect again.
    let _ = day.end_and_check(&site);
}

pub(crate) fn seed() -> u64 {
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    seed.unwrap_or(1)
}

#[test]
fn after_any_faults_all_have_one_order() {
    run(seed());
}

/// The others take two servers for gone while their members, and those of all others, talk and move. When
/// the servers are back, nothing is missing.
#[test]
fn servers_that_are_gone_and_back_miss_nothing() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let target = ([127, 0, 0, 1], redis.port()).into();
    let links = [0, 1].map(|_| SlowLink::to(target, 64 * 1024));
    let far = |link: &SlowLink| format!("redis://{}", link.address());
    let site = Site::start(&[redis.url(), far(&links[0]), far(&links[1])], &[]);
    let mut day = Day::new(&site, site.chats.len(), seed());
    (0..MEMBERS).for_each(|_| day.enter(&site));
    day.act_for(&site, ACTS);
    links[0].cut(Way::There);
    links[1].cut(Way::Back);
    let start = Instant::now();
    while start.elapsed() < GONE {
        day.act_for(&site, 1);
        day.turn_for(Duration::from_millis(100));
    }
    links[0].mend(Way::There);
    day.act_for(&site, ACTS);
    links[1].mend(Way::Back);
    day.act_for(&site, ACTS);
    let assembly = day.end_and_check(&site);
    let is_told = |ending: &str| {
        let mut heard = assembly.members().iter().flat_map(|member| &member.heard);
        heard.any(|line| line.ends_with(ending))
    };
    assert!(is_told(IS_GONE), "or this tests nothing");
}

/// Two of three servers end, by a kill or in good order, and are started again, over and over. All others
/// have one order, and their members miss nothing.
#[test]
fn servers_that_come_and_go_leave_one_order() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut site = Site::start(&[redis.url(), redis.url(), redis.url()], &[]);
    let (mut day, mut random) = (Day::new(&site, 1, seed()), Random::new(seed()));
    (0..MEMBERS).for_each(|_| day.enter(&site));
    for _ in 0..FAULTS {
        day.act_for(&site, ACTS);
        let chat = 1 + random.below(2);
        match random.below(2) {
            0 => site.chats[chat].kill(),
            _ => site.chats[chat].stop(),
        }
        day.closed = Some(chat);
        let cut = day.cut(chat);
        (0..cut).for_each(|_| day.enter(&site));
        day.act_for(&site, ACTS);
        site.chats[chat].restart();
        day.closed = None;
    }
    day.act_for(&site, ACTS);
    day.end_and_check_first(&site);
}
