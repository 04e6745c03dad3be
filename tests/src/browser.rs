//! A real browser: Chromium without a window, driven by the Chrome DevTools Protocol.
//!
//! The protocol is JSON: a command has a number, a method and parameters, and is answered by a message
//! with its number; an event is a message without one. With `--remote-debugging-pipe` the browser reads
//! commands from descriptor 3 and writes answers and events to descriptor 4, each message ended by a
//! zero byte; so no port is needed. A [`Tab`] is a page with a session of its own, whose messages carry
//! the session's name.

use std::cell::RefCell;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::wait_for_exit;
use crate::{PATIENCE, skip, until};

/// Names under which systems install the browser.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Moves the pipes, which are standard input and output, to the descriptors that the browser uses.
const MOVE_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A running browser, with an empty profile. Dropping it ends its processes.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    wire: RefCell<Wire>,
    _profile: TempDir,
}

/// The connection to the browser.
#[derive(Debug)]
struct Wire {
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    /// Events that have come, in order.
    events: Vec<Value>,
}

impl Browser {
    /// Starts the browser for a user with this language. If none is installed, the result is `None`,
    /// and the test is reported as skipped.
    #[must_use]
    pub fn start(language: &str) -> Option<Self> {
        let Some(program) = NAMES.into_iter().find(|name| is_installed(name)) else {
            skip("needs Chromium: run tests/run, which installs it");
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        let mut child = Command::new("sh")
            .args(["-c", MOVE_PIPES, program])
            // Chromium refuses its sandbox to root, and the page is our own.
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking"])
            .args(["--disable-breakpad", "--disable-crash-reporter"])
            .arg(format!("--lang={language}"))
            .arg(format!("--accept-lang={language}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            // It writes nothing outside of the profile.
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let commands = child.stdin.take().expect("piped");
        let answers = child.stdout.take().expect("piped");
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let wire = RefCell::new(Wire {
            commands,
            messages,
            last_id: 0,
            events: Vec::new(),
        });
        Some(Self {
            child,
            wire,
            _profile: profile,
        })
    }

    /// Opens a page in a window of its own, so that it is visible, and waits until it is loaded.
    #[must_use]
    pub fn open(&self, url: &str) -> Tab<'_> {
        let tab = self.blank(true);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab.load(url);
        tab
    }

    /// Opens an empty page: in a window of its own, or in front of the tab that was opened last.
    #[must_use]
    pub fn blank(&self, has_window: bool) -> Tab<'_> {
        let target = json!({"url": "about:blank", "newWindow": has_window});
        let target = self.call("Target.createTarget", &target)["targetId"].clone();
        let session = json!({"targetId": target, "flatten": true});
        let session = self.call("Target.attachToTarget", &session)["sessionId"].clone();
        Tab {
            browser: self,
            target,
            session,
        }
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let command = json!({"method": method, "params": params});
        self.wire.borrow_mut().call(command)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let wire = self.wire.get_mut();
        // The browser's own way to end leaves none of its processes behind.
        let asked = wire
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if asked.is_err() || wait_for_exit(&mut self.child, PATIENCE).is_none() {
            // Both fail only if the process has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Wire {
    /// Sends a command, and waits for its answer.
    fn call(&mut self, mut command: Value) -> Value {
        self.last_id += 1;
        command["id"] = self.last_id.into();
        let message = format!("{command}\0");
        let written = self.commands.write_all(message.as_bytes());
        written.expect("the browser reads commands");
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let mut message = message.unwrap_or_else(|_| panic!("no answer to {command}"));
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{command}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }
}

fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// A page in the browser.
#[derive(Debug)]
pub struct Tab<'a> {
    browser: &'a Browser,
    target: Value,
    session: Value,
}

impl Tab<'_> {
    /// Sends a command of the protocol for this page, and returns the result.
    #[expect(clippy::must_use_candidate, reason = "many commands have no result")]
    pub fn call(&self, method: &str, params: &Value) -> Value {
        let command = json!({"method": method, "params": params, "sessionId": self.session});
        self.browser.wire.borrow_mut().call(command)
    }

    /// Goes to this address, and waits until the page is loaded.
    pub fn load(&self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'");
    }

    /// Loads the page again, and waits until it is loaded.
    pub fn reload(&self) {
        self.evaluate("window.isOld = true");
        self.call("Page.reload", &json!({}));
        self.until("!window.isOld && document.readyState === 'complete'");
    }

    /// The value of a JavaScript expression, in the page. A promise is waited for.
    #[expect(clippy::must_use_candidate, reason = "some expressions have effects")]
    pub fn evaluate(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &params);
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception}");
        answer["result"]["value"].take()
    }

    /// Waits until a JavaScript condition holds in the page.
    pub fn until(&self, condition: &str) {
        let condition = format!("Boolean({condition})");
        until(&condition, || {
            // While the page is being loaded the condition may fail with an exception.
            let params = json!({"expression": condition, "returnByValue": true});
            self.call("Runtime.evaluate", &params)["result"]["value"] == true
        });
    }

    /// Types a text, as by a keyboard that sends it at once, into what has the focus.
    pub fn write(&self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Presses and releases a key, given by its name in JavaScript and its number in Windows.
    pub fn press(&self, (key, number): (&str, u32)) {
        let text = if key == "Enter" { "\r" } else { "" };
        for step in ["keyDown", "keyUp"] {
            let params = json!({
                "type": step, "key": key, "code": key, "windowsVirtualKeyCode": number, "text": text,
            });
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Types a line and presses Enter.
    pub fn enter(&self, line: &str) {
        self.write(line);
        self.press(ENTER);
    }

    /// Sets the size of the page, in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let params = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", &params);
    }

    /// Brings the tab to the front of its window.
    pub fn show(&self) {
        let target = json!({"targetId": self.target});
        self.browser.call("Target.activateTarget", &target);
    }

    /// The parameters of all events with this name that the page has caused so far.
    #[must_use]
    pub fn events(&self, method: &str) -> Vec<Value> {
        // Events that were caused before come before the answer.
        self.evaluate("0");
        let wire = self.browser.wire.borrow();
        let of_page =
            |event: &&Value| event["method"] == method && event["sessionId"] == self.session;
        let events = wire.events.iter().filter(of_page);
        events.map(|event| event["params"].clone()).collect()
    }

    /// The complaints of the page: exceptions, and errors and warnings in the console, such as
    /// those of its content security policy.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let exceptions = self.events("Runtime.exceptionThrown");
        let console = self.events("Runtime.consoleAPICalled");
        let log = self.events("Log.entryAdded");
        let all = exceptions.into_iter().chain(console).chain(log);
        all.map(|complaint| complaint.to_string()).collect()
    }

    /// The addresses that the page has asked for, WebSockets included.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let requests = self.events("Network.requestWillBeSent");
        let requests = requests.iter().map(|event| &event["request"]["url"]);
        let sockets = self.events("Network.webSocketCreated");
        let sockets = sockets.iter().map(|event| &event["url"]);
        let urls = requests.chain(sockets).filter_map(Value::as_str);
        urls.map(str::to_owned).collect()
    }
}

/// Keys for [`Tab::press`].
pub const ENTER: (&str, u32) = ("Enter", 13);
/// See [`ENTER`].
pub const TAB: (&str, u32) = ("Tab", 9);
/// See [`ENTER`].
pub const ESCAPE: (&str, u32) = ("Escape", 27);
/// See [`ENTER`].
pub const DOWN: (&str, u32) = ("ArrowDown", 40);
