//! The screen: what a user sees, hears and reaches.

use serde_json::json;
use tests::browser::{Browser, ESCAPE, TAB};

use crate::member::{Member, nc, start};

#[test]
fn a_hidden_tab_counts_and_marks_what_it_has_not_shown() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.says("seen");
    let _front = browser.blank(false);
    ann.tab.until("document.hidden");
    bob.say("one\ntwo\n/nick bobby\nthree\n");
    ann.sees("[bobby] three");
    ann.tab
        .until("document.title === '(3) lobby – edgeloop chat'");
    let marked = ann
        .tab
        .evaluate("document.querySelector('.unread + .row .text').innerText");
    assert_eq!(marked, "one");
    ann.tab.show();
    ann.tab
        .until("!document.hidden && document.title === 'lobby – edgeloop chat'");
    ann.is_content();
}

#[test]
fn hostile_lines_are_text_and_break_no_layout() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    let html = "<script>alert(1)</script><img src=x onerror=alert(1)><b>&amp;</b>";
    let word = "w".repeat(4096 - "\n".len());
    let link = "see https://example.org/?a=<b>&c=\"d\" and javascript:alert(1)";
    let mirrored = "\u{202e}gpj.exe \u{5d0}\u{5d1}";
    // Not a line to ann only, although it looks like one.
    let forged = "to you] psst";
    bob.say(format!(
        "{html}\n{word}\n{link}\n{mirrored}\n{forged}\n/me {html}\n"
    ));
    for line in [html, &word, link, "gpj.exe \u{5d0}\u{5d1}", forged] {
        ann.sees(&format!("[bob] {line}"));
    }
    ann.sees(&format!("** bob {html}"));
    let elements = "[...new Set([...document.querySelectorAll('#log .text *')].map((one) => one.localName))].sort().join()";
    assert_eq!(ann.tab.evaluate(elements), "a,bdi");
    let links = "[...document.querySelectorAll('#log a')].map((one) => [one.href, one.rel].join())";
    assert_eq!(
        ann.tab.evaluate(links),
        json!(["https://example.org/?a=,noopener noreferrer"])
    );
    for (width, height) in [(390, 844), (320, 420), (1280, 800)] {
        ann.tab.resize(width, height);
        ann.tab.until(&format!("innerWidth === {width}"));
        let wide = "[document.documentElement, ...document.querySelectorAll('body *')]
            .filter((one) => one.scrollWidth > one.clientWidth && getComputedStyle(one).display !== 'inline'
                && one.clientWidth > 1).map((one) => one.outerHTML.slice(0, 200))";
        assert_eq!(ann.tab.evaluate(wide), json!([]), "{width} pixels");
        ann.tab
            .until("$('line').getBoundingClientRect().bottom <= innerHeight");
    }
    ann.is_content();
}

#[test]
fn the_log_is_bounded_and_stays_where_the_user_reads() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&["--rate", "0"]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    for number in 0..2_500 {
        bob.say(format!("line {number}\n"));
    }
    ann.sees("[bob] line 2499");
    assert_eq!(ann.tab.evaluate("$('log').childElementCount"), 2_000);
    let at_end = "$('scroll').scrollHeight - $('scroll').scrollTop - $('scroll').clientHeight < 2";
    ann.tab.until(at_end);
    ann.tab.evaluate("$('scroll').scrollTop = 100");
    ann.tab.until("!followsEnd");
    bob.say("one\ntwo\n");
    ann.tab.until("$('newer').innerText === '↓ 2 new'");
    ann.tab.evaluate("$('newer').click()");
    ann.tab.until(at_end);
    ann.tab.until("$('newer').hidden");
    ann.is_content();
}

#[test]
fn a_user_without_a_mouse_or_eyes_finds_everything() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    bob.say("hello\n");
    ann.sees("[bob] hello");
    ann.tab.until("$('people-list').innerText.includes('bob')");
    let tree = ann.tab.call("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes").iter();
    let nodes = nodes.filter(|node| node["ignored"] == false);
    let nodes: Vec<(&str, &str)> = nodes
        .map(|node| {
            let text = |key: &str| node[key]["value"].as_str().unwrap_or_default();
            (text("role"), text("name"))
        })
        .collect();
    for expected in [
        ("log", "Conversation"),
        ("textbox", "Your line; / lists commands"),
        ("button", "Send"),
        ("button", "bob"),
        ("heading", "People (2)"),
    ] {
        assert!(nodes.contains(&expected), "{expected:?}: {nodes:?}");
    }
    let is_nameless = |(role, name): &&(&str, &str)| {
        ["button", "textbox", "link", "log", "listbox"].contains(role) && name.is_empty()
    };
    assert_eq!(nodes.iter().find(is_nameless), None);

    let focused = "document.activeElement.innerText || document.activeElement.id";
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(
            ann.tab
                .evaluate(focused)
                .as_str()
                .expect("a text")
                .trim()
                .to_owned(),
        );
        ann.tab.press(TAB);
    }
    assert_eq!(order[..2], ["line", "Send"]);
    assert!(
        order[2].starts_with("lobby") && order[3] == "Another room…" && order[4] == "bob",
        "{order:?}"
    );
    ann.tab.press(ESCAPE);
    assert_eq!(ann.tab.evaluate(focused), "line");
    ann.is_content();
}

/// The contrast of a name on the ground, at worst, of those with 360 different hues: WCAG 2.1 asks for 4.5.
const WORST_CONTRAST: &str = include_str!("contrast.js");

#[test]
fn names_can_be_read_in_light_and_in_the_dark_and_texts_are_in_the_users_language() {
    let Some(browser) = Browser::start("zh-CN") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let _bob = nc(&server, "bob");
    ann.sees("* bob 进入了房间");
    assert_eq!(ann.tab.evaluate("document.documentElement.lang"), "zh");
    assert_eq!(ann.text("#line-form button"), "发送");
    for scheme in ["light", "dark"] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        ann.tab.call("Emulation.setEmulatedMedia", &media);
        let contrast = ann.tab.evaluate(WORST_CONTRAST).as_f64().expect("a number");
        assert!(contrast >= 4.5, "{scheme}: {contrast}");
    }
    ann.is_content();
}

#[test]
fn both_languages_have_the_same_texts() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let keys = "Object.values(TEXTS).map((texts) => Object.keys(texts).sort().join())";
    let keys = ann.tab.evaluate(keys);
    assert_eq!(keys[0], keys[1]);
}
