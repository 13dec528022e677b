//! `sluice run`: configurations that cannot be, and places that are taken.

use std::path::Path;

use crate::daemon::{Daemon, configuration_text, run_daemon};

#[test]
fn a_wrong_configuration_is_refused_with_its_line_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice.toml");
    let good = configuration_text(&folder.path().join("sluice.sock"));
    std::fs::write(&path, &good).unwrap();
    let run = run_daemon(&path, &["--check"]).succeeded();
    assert!(run.stdout.contains("sluice.toml: correct"), "{}", run.stdout);
    assert!(run.stdout.contains("each worker sets aside"), "{}", run.stdout);
    let cases: [(&str, &str, &[&str]); 8] = [
        ("pin = false", "pinn = false", &["line 9", "pinn", "unknown field", "pin"]),
        ("pin = false", "pin = \"no\"", &["line 9", "pin = \"no\"", "boolean"]),
        ("workers = 1", "workers = 0", &["line 8", "workers = 0", "1 to 256"]),
        ("\"io_uring\"", "\"dpdk\"", &["line 7", "dpdk", "io_uring"]),
        ("34000-38999", "5-4", &["line 5", "port range"]),
        ("\"127.0.0.1\"", "\"localhost\"", &["line 4", "localhost"]),
        ("legs = 64", "legs = -1", &["line 13", "-1 is out of range"]),
        ("[limits]", "[limits", &["line 12"]),
    ];
    for (from, to, words) in cases {
        let wrong = good.replace(from, to);
        assert_ne!(wrong, good, "{from} is there");
        std::fs::write(&path, wrong).unwrap();
        for arguments in [&[][..], &["--check"]] {
            let run = run_daemon(&path, arguments).failed(1, &["sluice: ", "sluice.toml"]);
            for word in words {
                assert!(run.stderr.contains(word), "{to}: no {word:?} in:\n{}", run.stderr);
            }
            assert!(!run.stdout.contains("ready"), "{}", run.stdout);
        }
    }
    let missing = folder.path().join("nowhere.toml");
    run_daemon(&missing, &[]).failed(1, &["cannot read", "nowhere.toml"]);
    run_daemon(folder.path(), &[]).failed(1, &["cannot read"]);
    assert!(!folder.path().join("sluice.sock").exists());
}

#[test]
fn the_example_in_the_documentation_is_correct() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sluice.example.toml");
    run_daemon(&example, &["--check"]).succeeded();
}

#[test]
fn a_socket_that_another_daemon_has_is_left_to_it() {
    let mut daemon = Daemon::start();
    let run = run_daemon(&daemon.path("sluice.toml"), &[]);
    let run = run.failed(1, &["another sluice is running", &daemon.socket(), "api.socket"]);
    assert!(!run.stdout.contains("ready"), "{}", run.stdout);
    daemon.ctl("info").succeeded();
    // What a daemon that died leaves does not stop the next.
    daemon.kill();
    assert!(daemon.path("sluice.sock").exists());
    daemon.ctl("info").failed(1, &["nobody answers on"]);
    daemon.restart();
    daemon.ctl("info").succeeded();
    daemon.stop();
}

#[test]
fn a_socket_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice.toml");
    std::fs::write(folder.path().join("file"), "text").unwrap();
    for (socket, word) in [("file", "is not a socket"), ("file/sluice.sock", "cannot listen on")] {
        std::fs::write(&path, configuration_text(&folder.path().join(socket))).unwrap();
        run_daemon(&path, &[]).failed(1, &[word, socket, "api.socket"]);
    }
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"text");
}

#[test]
fn a_worker_has_its_cpu_to_itself_where_there_are_others() {
    let allowed = |thread| rustix::thread::sched_getaffinity(thread).expect("it can be asked");
    if allowed(None).count() < 2 {
        eprintln!("SKIP: there is but one CPU, which everybody shares");
        return;
    }
    let daemon =
        Daemon::start_as(tempfile::tempdir().unwrap(), |text| text.replace("pin = false", "pin = true"));
    let info = daemon.ctl("info --json").json();
    let cpu = info["workers"][0]["cpu"].as_u64().expect("it is bound") as usize;
    let threads = daemon.threads();
    let names: Vec<_> = threads.iter().map(|(_, name)| name.as_str()).collect();
    for name in ["sluice-0", "sluice-api", "sluice-events", "sluice-dtls-0", "sluice-rings"] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    for (number, name) in &threads {
        let cpus = allowed(rustix::process::Pid::from_raw(*number));
        let expected = if name == "sluice-0" { (true, 1) } else { (false, allowed(None).count() - 1) };
        assert_eq!((cpus.is_set(cpu), cpus.count()), expected, "{name}, beside a worker on CPU {cpu}");
    }
}
