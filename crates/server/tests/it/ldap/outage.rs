//! A directory that is away, or does not answer.

use super::stage::{at, directory, login, over, subject};
use crate::app::{ADMIN, PASSWORD, TestApp};
use portolan_testkit::children::eventually;
use portolan_testkit::client::Answer;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Far above what anything here takes, and below what anybody would wait for a directory.
const QUICK: Duration = Duration::from_secs(2);

/// 503 with a wait that makes sense.
#[track_caller]
fn shall_come_again(answer: Answer) {
    let answer = answer.refused(503, "UNAVAILABLE");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=15).contains(&wait), "{wait}");
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

/// Those who have a password here log in as ever.
async fn those_here_are_served(app: &TestApp) {
    let (answer, took) = timed(login(app, ADMIN, PASSWORD)).await;
    answer.expect(200);
    assert!(took < QUICK, "{took:?}");
    login(app, ADMIN, "a guess")
        .await
        .refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn while_the_directory_is_down_its_people_shall_come_again_and_others_notice_nothing() {
    let mut directory = directory();
    directory.person("quentin", "quentin's secret");
    let app = over(&directory)
        .with("LOGIN__LOCKOUT_AFTER", 2)
        .start()
        .await;
    subject(login(&app, "quentin", "quentin's secret").await);
    directory.stop();
    for guess in 0..6 {
        let (answer, took) = timed(login(&app, "quentin", &format!("guess {guess}"))).await;
        shall_come_again(answer);
        assert!(took < QUICK, "{took:?}");
    }
    shall_come_again(login(&app, "nobody", "a guess").await);
    let basic = app.anonymous().basic("quentin", "quentin's secret");
    shall_come_again(basic.get("/v2/").await);
    those_here_are_served(&app).await;
    directory.restart();
    // None of it has counted, and it is soon noticed.
    eventually("the directory is asked again", || async {
        let answer = login(&app, "quentin", "quentin's secret").await;
        assert_ne!(answer.status.as_u16(), 429);
        answer.status.as_u16() == 200
    })
    .await;
    let quentins = "SELECT count(*) FROM lockout JOIN account ON account.id = account_id WHERE name = 'quentin'";
    assert_eq!(app.count(quentins).await, 0);
}

#[tokio::test]
async fn a_directory_that_never_answers_is_waited_for_once_and_not_for_long() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("it is bound").port();
    let app = at(&[&format!("ldaps://localhost:{port}")])
        .with("LDAP__BOUNDS__CONNECT", "1s")
        .with("LDAP__BOUNDS__LOGIN", "2s")
        .start()
        .await;
    let (answer, took) = timed(login(&app, "rosa", "a guess")).await;
    shall_come_again(answer);
    assert!(took < QUICK + Duration::from_secs(2), "{took:?}");
    // The next hears it at once.
    let (answer, took) = timed(login(&app, "rosa", "a guess")).await;
    shall_come_again(answer);
    assert!(took < Duration::from_secs(1), "{took:?}");
    those_here_are_served(&app).await;
}

#[tokio::test]
async fn however_many_come_few_ask() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    silent.set_nonblocking(true).expect("a socket");
    let port = silent.local_addr().expect("it is bound").port();
    let app = at(&[&format!("ldaps://localhost:{port}")])
        .with("LDAP__BOUNDS__CONNECT", "1s")
        .with("LDAP__BOUNDS__CONNECTIONS", "3")
        .start()
        .await;
    let crowd = (0..40).map(|number| {
        let app = &app;
        async move { timed(login(app, &format!("name{number}"), "a guess")).await }
    });
    for (answer, took) in futures::future::join_all(crowd).await {
        // On a machine that is busy with something else the registry itself may have no time for some of them.
        if answer.status != 429 {
            shall_come_again(answer);
        }
        assert!(took < QUICK + Duration::from_secs(2), "{took:?}");
    }
    let came = std::iter::from_fn(|| silent.accept().ok()).count();
    assert_eq!(came, 3);
    those_here_are_served(&app).await;
}

/// Says the same to everybody who comes.
fn says(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    // It ends with the test process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(answer);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    format!("ldap://localhost:{port}")
}

#[tokio::test]
async fn servers_that_make_no_sense_are_passed_over() {
    let directory = directory();
    directory.person("vera", "vera's secret");
    let nonsense = [
        says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        says(b""),
        // Messages of LDAP to the letter, and answers to nothing, without what an answer has, or of an unknown kind.
        says(b"\x30\x0c\x02\x01\x63\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
        says(b"\x30\x05\x02\x01\x01\x61\x00"),
        says(b"\x30\x00"),
        says(b"\x30\x05\x02\x01\x01\x7e\x00"),
        says(&[0; 64]),
    ];
    let mut urls: Vec<&str> = nonsense.iter().map(String::as_str).collect();
    let url = directory.url();
    urls.push(&url);
    let app = at(&urls)
        .with("LDAP__ALLOW_PLAINTEXT", "true")
        .with("LDAP__BOUNDS__CONNECT", "300ms")
        .start()
        .await;
    subject(login(&app, "vera", "vera's secret").await);
    assert!(
        app.log().contains("its answer makes no sense"),
        "{}",
        app.log()
    );
    urls.pop();
    let app = at(&urls)
        .with("LDAP__ALLOW_PLAINTEXT", "true")
        .with("LDAP__BOUNDS__CONNECT", "300ms")
        .start()
        .await;
    shall_come_again(login(&app, "vera", "vera's secret").await);
    those_here_are_served(&app).await;
}

/// A message to the letter, of parts within parts, so many.
fn nested(depth: usize) -> &'static [u8] {
    let parts = (0..depth).rev().flat_map(|inside| {
        let length = u32::try_from(6 * inside).expect("a small message");
        let mut part = vec![0x30, 0x84];
        part.extend(length.to_be_bytes());
        part
    });
    parts.collect::<Vec<u8>>().leak()
}

/// Whoever is on the way to a server answers before there is TLS.
#[tokio::test]
async fn what_a_server_says_is_bounded_in_depth_and_length_before_it_is_read() {
    for answer in [nested(100_000), b"\x30\x84\x7f\xff\xff\xff" as &[u8]] {
        for start_tls in ["false", "true"] {
            let app = at(&[&says(answer)])
                .with("LDAP__ALLOW_PLAINTEXT", "true")
                .with("LDAP__START_TLS", start_tls)
                .start()
                .await;
            let (answer, took) = timed(login(&app, "vera", "vera's secret")).await;
            shall_come_again(answer);
            assert!(took < Duration::from_secs(1), "{took:?}");
            those_here_are_served(&app).await;
        }
    }
}

/// A part of a message, with what is in it.
fn part(tag: u8, inside: &[&[u8]]) -> Vec<u8> {
    let inside = inside.concat();
    let length = u8::try_from(inside.len()).expect("a small part");
    [&[tag, 0x81, length], &inside[..]].concat()
}

/// A directory with one person in it, who is let in with any password, and whose groups it never finds. Counts who comes.
fn slow_with_groups() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    // It ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || finds_no_groups(stream));
        }
    });
    (format!("ldap://localhost:{port}"), came)
}

fn finds_no_groups(mut stream: TcpStream) -> Option<()> {
    const SUCCESS: &[u8] = b"\x0a\x01\x00\x04\x00\x04\x00";
    const BIND: u8 = 0x60;
    const SEARCH: u8 = 0x63;
    let attribute = |name: &str, value: &str| {
        let values = part(0x31, &[&part(0x04, &[value.as_bytes()])]);
        part(0x30, &[&part(0x04, &[name.as_bytes()]), &values])
    };
    let entry = part(
        0x64,
        &[
            &part(0x04, &[b"uid=hugo,ou=people"]),
            &part(
                0x30,
                &[&attribute("entryUUID", "6f1c"), &attribute("uid", "hugo")],
            ),
        ],
    );
    let mut searches = 0;
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        let mut length = usize::from(head[1]);
        if length >= 0x80 {
            let mut long = vec![0; length - 0x80];
            stream.read_exact(&mut long).ok()?;
            length = long
                .iter()
                .fold(0, |all, byte| all << 8 | usize::from(*byte));
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).ok()?;
        let (id, operation) = message.split_at(2 + usize::from(message[1]));
        let answers = match operation[0] {
            BIND => vec![part(0x61, &[SUCCESS])],
            SEARCH if searches == 0 => vec![entry.clone(), part(0x65, &[SUCCESS])],
            _ => Vec::new(),
        };
        searches += usize::from(operation[0] == SEARCH);
        for answer in answers {
            stream.write_all(&part(0x30, &[id, &answer])).ok()?;
        }
    }
}

#[tokio::test]
async fn whose_groups_are_not_found_in_time_shuts_nobody_else_out() {
    let (url, came) = slow_with_groups();
    let app = at(&[&url])
        .with("LDAP__ALLOW_PLAINTEXT", "true")
        .with("LDAP__BOUNDS__LOGIN", "2s")
        .start()
        .await;
    for comes in 1..4 {
        let (answer, took) = timed(login(&app, "hugo", &format!("any {comes}"))).await;
        shall_come_again(answer);
        assert!(took < QUICK + Duration::from_secs(2), "{took:?}");
        // It is asked each time, and not left alone for him.
        assert_eq!(came.load(Ordering::Relaxed), comes);
    }
    those_here_are_served(&app).await;
}

#[tokio::test]
async fn another_server_of_the_directory_is_asked_where_one_is_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("it is bound").port();
    let directory = directory();
    directory.person("sven", "sven's secret");
    let silent_url = format!("ldaps://localhost:{port}");
    let app = at(&[&silent_url, &directory.tls_url()])
        .with("LDAP__BOUNDS__CONNECT", "1s")
        .start()
        .await;
    subject(login(&app, "sven", "sven's secret").await);
    let (answer, took) = timed(login(&app, "sven", "sven's secret")).await;
    subject(answer);
    assert!(
        took < Duration::from_secs(1),
        "the one that answered is asked first: {took:?}"
    );
}

#[tokio::test]
async fn the_doctor_says_whether_the_directory_answers_and_lets_in_who_looks_people_up() {
    let mut directory = directory();
    let app = over(&directory).start().await;
    let doctor = |settings: &[(&str, &str)]| {
        let mut command = app.command();
        for (name, value) in settings {
            command.env(format!("PORTOLAN_LDAP__{name}"), value);
        }
        let output = command.arg("doctor").output().expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let about = format!("directory {}: ", directory.tls_url());
    let (code, text) = doctor(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("ok       {about}")), "{text}");
    for (name, value, word) in [
        ("BIND_PASSWORD", "wrong", "ldap.bind_password"),
        (
            "USERS__BASE",
            "ou=nowhere,dc=example,dc=test",
            "no such object",
        ),
        ("CA_FILE", "/nonexistent", "ldap.ca_file"),
    ] {
        let (code, text) = doctor(&[(name, value)]);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("PROBLEM  directory") && text.contains(word),
            "{text}"
        );
        assert!(!text.contains("wrong"), "{text}");
    }
    directory.stop();
    let (code, text) = doctor(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("PROBLEM  {about}")), "{text}");
}
