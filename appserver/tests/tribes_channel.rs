//! Channels over real sockets on the loopback interface: they find each other, order is kept, a killed member goes at once, a frozen one
//! costs one bounded wait, strangers and hostile bytes are dropped.

#[path = "support/tribes.rs"]
mod tribes;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use appserver::Clock;
use appserver::tribes::channel::{Delivery, NotQueued, Why, bind};
use appserver::tribes::encrypt::{Algorithm, Cipher};
use appserver::tribes::frame::{self, Parsed};
use appserver::tribes::member::{Member, MemberId};
use appserver::tribes::options::SendOptions;
use appserver::tribes::settings::{
    ClusterSettings, MembershipType, ReceiverAddress, encryption_key_bytes,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tribes::{Node, Process, SOON, SYNC, Told, group_port, multicast, pair};

#[tokio::test]
async fn members_find_each_other_and_send() {
    let (a, b) = pair(&multicast()).await;
    assert!(a.channel.members()[0].is_native());
    assert_eq!(a.send(&b, b"one").await, Delivery::Acked);
    let all = [b.id(), MemberId([7; 16])];
    let deliveries = a.channel.send_all(&all, b"two", SYNC, SOON).await;
    assert_eq!(
        deliveries,
        [Delivery::Acked, Delivery::Failed(Why::NotMember)]
    );
    assert_eq!(b.told.bytes(), [b"one".to_vec(), b"two".to_vec()]);

    let written = a
        .channel
        .send(b.id(), b"three", SendOptions::default(), SOON)
        .await;
    assert_eq!(written, Delivery::Written);
    let queued = a
        .channel
        .send(b.id(), b"four", SendOptions::ASYNC, SOON)
        .await;
    assert_eq!(queued, Delivery::Queued);
    assert_eq!(a.channel.post(b.id(), b"five", SYNC), Ok(()));
    b.told
        .until("five messages", |told| told.bytes().len() == 5)
        .await;
    assert_eq!(b.told.bytes()[4], b"five");

    let status = a.channel.status();
    assert_eq!(status.discovery, "multicast");
    assert_eq!(
        (status.members.len(), status.members[0].kind),
        (1, "native")
    );
    let status = b.channel.status();
    assert_eq!((status.received, status.dropped_not_member), (5, 0));
}

#[tokio::test]
async fn order_is_kept_and_many_messages_go_in_few_writes() {
    let (a, b) = pair(&multicast()).await;
    const COUNT: u32 = 20_000;
    for number in 0..COUNT {
        let options = match number % 3 {
            0 => SYNC,
            1 => SendOptions::ASYNC,
            _ => SendOptions::USE_ACK,
        };
        let number = number.to_be_bytes();
        while let Err(NotQueued(why)) = a.channel.post(b.id(), &number, options) {
            assert_eq!(why, Why::Full);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(a.send(&b, b"last").await, Delivery::Acked);
    let mut expected: Vec<_> = (0..COUNT).map(|n| n.to_be_bytes().to_vec()).collect();
    expected.push(b"last".to_vec());
    assert!(b.told.bytes() == expected, "{} came", b.told.bytes().len());
}

#[tokio::test]
async fn a_member_that_cannot_deal_with_a_message_says_so() {
    let (a, b) = pair(&multicast()).await;
    b.told.refuse.store(true, Ordering::Relaxed);
    assert_eq!(a.send(&b, b"x").await, Delivery::Failed(Why::Refused));
    let read = a
        .channel
        .send(b.id(), b"y", SendOptions::USE_ACK, SOON)
        .await;
    assert_eq!(read, Delivery::Acked);
    b.told.refuse.store(false, Ordering::Relaxed);
    assert_eq!(a.send(&b, b"z").await, Delivery::Acked);
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_the_sender() {
    let mut settings = multicast();
    settings.receiver.max_frame_size = 10_000;
    let (a, b) = pair(&settings).await;
    assert_eq!(
        a.send(&b, &[0; 10_000]).await,
        Delivery::Failed(Why::TooLarge)
    );
    assert_eq!(a.send(&b, &[0; 9_000]).await, Delivery::Acked);
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let (a, b) = pair(&multicast()).await;
    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(a.send(&b, &large).await, Delivery::Acked);
    assert!(b.told.bytes() == [large]);
}

#[tokio::test]
async fn who_stops_is_gone_at_once_and_without_a_probe() {
    let mut settings = multicast();
    settings.membership.drop_time = 600_000;
    let (a, b) = pair(&settings).await;
    let id = b.id();
    b.channel.stop().await;
    a.told
        .until("b is removed", |told| told.has("removed", id))
        .await;
    assert!(a.channel.members().is_empty());
    assert_eq!(a.send(&b, b"late").await, Delivery::Failed(Why::NotMember));
}

#[tokio::test]
async fn what_was_queued_leaves_before_the_end() {
    let (a, b) = pair(&multicast()).await;
    for number in 0..1000u32 {
        let posted = a.channel.post(b.id(), &number.to_be_bytes(), SYNC);
        assert_eq!(posted, Ok(()));
    }
    a.channel.stop().await;
    assert_eq!(b.told.bytes().len(), 1000);
}

#[tokio::test]
async fn who_is_killed_is_removed_and_its_successor_added() {
    let mut settings = multicast();
    settings.membership.drop_time = 600_000;
    let a = Node::start(&settings).await;
    let b = Process::start(&settings);
    a.knows(&b.node).await;
    assert_eq!(a.send(&b.node, b"x").await, Delivery::Acked);
    let address = b.node.channel.local().address();
    let b = b.kill();
    let id = b.id();
    a.told
        .until("b is removed", |told| told.has("removed", id))
        .await;
    settings.receiver.port = address.port();
    let c = Node::start(&settings).await;
    assert_eq!(c.channel.local().address(), address);
    a.knows(&c).await;
    assert_eq!(a.send(&c, b"y").await, Delivery::Acked);
}

#[tokio::test]
async fn three_members_have_one_order() {
    let settings = multicast();
    let a = Node::start(&settings).await;
    let b = Node::start(&settings).await;
    let c = Node::start(&settings).await;
    for (one, others) in [(&a, [&b, &c]), (&b, [&a, &c]), (&c, [&a, &b])] {
        for other in others {
            one.knows(other).await;
        }
        let order: Vec<_> = one.channel.members().iter().map(|m| m.id).collect();
        assert_eq!(order, others.map(Node::id));
    }
    let all: Vec<_> = a.channel.members().iter().map(|m| m.id).collect();
    let deliveries = a.channel.send_all(&all, b"to all", SYNC, SOON).await;
    assert_eq!(deliveries, [Delivery::Acked; 2]);
}

#[tokio::test]
async fn members_of_a_list_find_each_other_without_multicast() {
    let ports: Vec<u16> = (0..3)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
        .map(|listener| listener.local_addr().expect("its address").port())
        .collect();
    let node = |port: u16| {
        let mut settings = multicast();
        settings.membership.kind = MembershipType::Static;
        settings.membership.members = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
        settings.receiver.address = ReceiverAddress::Auto;
        settings.receiver.port = port;
        settings
    };
    let a = Node::start(&node(ports[0])).await;
    assert_eq!(
        a.channel.local().address(),
        SocketAddr::from(([127, 0, 0, 1], ports[0]))
    );
    let b = Node::start(&node(ports[1])).await;
    let c = Process::start(&node(ports[2]));
    a.knows(&b).await;
    b.knows(&a).await;
    a.knows(&c.node).await;
    assert_eq!(a.send(&b, b"x").await, Delivery::Acked);
    assert_eq!(a.channel.status().discovery, "static");
    let killed = c.kill().id();
    a.told
        .until("c is removed", |told| told.has("removed", killed))
        .await;
    let stopped = b.id();
    b.channel.stop().await;
    a.told
        .until("b is removed", |told| told.has("removed", stopped))
        .await;
}

#[tokio::test]
async fn auto_falls_back_to_the_name() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let mut settings = multicast();
    settings.membership.kind = MembershipType::Auto;
    settings.membership.name = format!("localhost:{port}");
    let a = Node::start(&settings).await;
    assert_eq!(a.channel.status().discovery, "dns");
    // Another group: they can only meet by the name.
    settings.membership.port = group_port();
    settings.receiver.port = port;
    settings.membership.name = format!("localhost:{}", a.channel.local().port);
    let b = Node::start(&settings).await;
    a.knows(&b).await;
    b.knows(&a).await;
}

#[tokio::test]
async fn members_with_one_key_understand_each_other_and_nobody_else() {
    for algorithm in ["AES/GCM/NoPadding", "AES/CBC/PKCS5Padding"] {
        let mut settings = multicast();
        let key = "00112233445566778899aabbccddeeff";
        let interceptor = format!(
            "className = \"EncryptInterceptor\"\nencryptionKey = \"{key}\"\nencryptionAlgorithm = \"{algorithm}\""
        );
        let encrypt = toml::from_str(&interceptor).expect("an interceptor");
        settings.interceptors.insert(0, encrypt);
        let (a, b) = pair(&settings).await;
        assert_eq!(a.send(&b, b"secret").await, Delivery::Acked);
        assert_eq!(b.told.bytes(), [b"secret".to_vec()]);

        settings.interceptors.remove(0);
        let plain = Node::start(&settings).await;
        plain.knows(&a).await;
        assert_eq!(
            plain.send(&a, b"plain").await,
            Delivery::Failed(Why::Refused)
        );
        settings.encryption_key = key.replace('0', "1");
        let other = Node::start(&settings).await;
        other.knows(&a).await;
        assert_eq!(
            other.send(&a, b"other").await,
            Delivery::Failed(Why::Refused)
        );
        assert_eq!(a.told.bytes(), Vec::<Vec<u8>>::new());
        assert_eq!(a.channel.status().dropped_encryption, 2);
    }
}

/// A member that the test plays: it listens, and says so to the group.
struct Played {
    listener: TcpListener,
    member: Member,
    group: SocketAddr,
    socket: UdpSocket,
}

impl Played {
    async fn start(settings: &ClusterSettings, native: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let id = MemberId::from_random([address.port() as u8; 16]);
        let mut member = Member::native(id, address, "");
        if !native {
            member.payload = Box::default();
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let group = SocketAddr::new(settings.membership.address, settings.membership.port);
        Self {
            listener,
            member,
            group,
            socket,
        }
    }

    fn heartbeat(&mut self) {
        self.member.alive += 50;
        let package = self.member.package();
        self.socket.send_to(&package, self.group).expect("sent");
    }

    /// Heartbeats, and takes the probe's connection and then the channel's; both are read to the end or left alone.
    async fn joined(&mut self, by: &Node) -> TcpStream {
        self.heartbeat();
        let (mut probe, _) = self.listener.accept().await.expect("a probe");
        let mut bytes = Vec::new();
        probe.read_to_end(&mut bytes).await.expect("a probe");
        let parsed = frame::parse(&bytes, 1000);
        assert!(
            matches!(parsed, Ok(Parsed::Message(f, _)) if f.is_probe()),
            "{parsed:?}"
        );
        let id = self.member.id;
        by.told
            .until("it is added", |told| told.has("added", id))
            .await;
        self.listener.accept().await.expect("a connection").0
    }
}

/// Reads from a connection until so many bytes are there.
async fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let reading = stream.read_exact(&mut bytes);
    tokio::time::timeout(SOON, reading)
        .await
        .expect("in time")
        .expect("read");
    bytes
}

fn no_heartbeats_needed() -> ClusterSettings {
    let mut settings = multicast();
    settings.membership.drop_time = 600_000;
    settings
}

#[tokio::test]
async fn a_frozen_member_costs_one_wait_and_catches_up() {
    let mut settings = no_heartbeats_needed();
    settings.sender.timeout = 300;
    let a = Node::start(&settings).await;
    let mut frozen = Played::start(&settings, true).await;
    let mut connection = frozen.joined(&a).await;
    let id = frozen.member.id;
    let waits = a.channel.send(id, b"1", SYNC, SOON).await;
    assert_eq!(waits, Delivery::TimedOut);
    assert_eq!(a.channel.status().members[0].state, "stalled");
    for number in 2..10u8 {
        let waits = a.channel.send(id, &[b'0' + number], SYNC, SOON).await;
        assert_eq!(waits, Delivery::Queued);
    }
    a.told
        .until("stalled", |told| told.has("stalled", id))
        .await;
    // It thaws: all nine are there, in order.
    let len = frame::frame_len(frozen.member.package_len(), 1);
    let bytes = read(&mut connection, 9 * len).await;
    for (at, bytes) in bytes.chunks(len).enumerate() {
        let Ok(Parsed::Message(frame, _)) = frame::parse(bytes, 1000) else {
            panic!("{at}")
        };
        assert_eq!(frame.message, [b'1' + at as u8]);
        connection.write_all(&frame::ACK).await.expect("answered");
    }
    a.told
        .until("recovered", |told| told.has("recovered", id))
        .await;
    let status = a.channel.status().members.remove(0);
    assert_eq!((status.state, status.timed_out), ("alive", 1));
}

/// One message may be waited for less long than others of the same member, and than it takes until the member counts as stalled.
#[tokio::test]
async fn each_wait_ends_at_its_own_limit() {
    let mut settings = no_heartbeats_needed();
    settings.sender.timeout = 600_000;
    let a = Node::start(&settings).await;
    let mut slow = Played::start(&settings, true).await;
    let mut connection = slow.joined(&a).await;
    let (id, short) = (slow.member.id, Duration::from_millis(50));
    let len = frame::frame_len(slow.member.package_len(), 1);
    let patient = a.channel.send(id, b"1", SYNC, SOON);
    let (patient, ()) = tokio::join!(patient, async {
        for number in [b"2", b"3"] {
            let delivery = a.channel.send(id, number, SYNC, short).await;
            assert_eq!(delivery, Delivery::TimedOut);
        }
        let status = a.channel.status().members.remove(0);
        assert_eq!((status.state, status.timed_out), ("alive", 2));
        read(&mut connection, 3 * len).await;
        let answers = frame::ACK.repeat(3);
        connection.write_all(&answers).await.expect("answered");
    });
    assert_eq!(patient, Delivery::Acked);
}

#[tokio::test]
async fn a_broken_connection_is_made_again_and_the_message_sent_once_more() {
    let settings = no_heartbeats_needed();
    let a = Node::start(&settings).await;
    let mut played = Played::start(&settings, true).await;
    let mut connection = played.joined(&a).await;
    let id = played.member.id;
    let len = frame::frame_len(played.member.package_len(), 5);
    let (delivery, again) = tokio::join!(a.channel.send(id, b"hello", SYNC, SOON), async {
        let first = read(&mut connection, len).await;
        drop(connection);
        loop {
            // The probe of the suspected member, and the new connection, in any order.
            let (mut next, _) = played.listener.accept().await.expect("a connection");
            let again = read(&mut next, len).await;
            if again == first {
                next.write_all(&frame::ACK).await.expect("answered");
                break next;
            }
        }
    });
    assert_eq!(delivery, Delivery::Acked);
    drop(again);
}

#[tokio::test]
async fn a_tomcat_gets_one_message_after_the_other() {
    let settings = no_heartbeats_needed();
    let a = Node::start(&settings).await;
    let mut tomcat = Played::start(&settings, false).await;
    let mut connection = tomcat.joined(&a).await;
    let id = tomcat.member.id;
    assert_eq!(a.channel.status().members[0].kind, "tomcat");
    for message in [b"1", b"2", b"3"] {
        assert_eq!(a.channel.post(id, message, SYNC), Ok(()));
    }
    let len = frame::frame_len(a.channel.local().package_len(), 1);
    for message in [b"1", b"2", b"3"] {
        let bytes = read(&mut connection, len).await;
        let Ok(Parsed::Message(frame, _)) = frame::parse(&bytes, 1000) else {
            panic!()
        };
        assert_eq!(frame.message, message);
        // The next one is not there before this one was answered.
        let mut next = [0; 1];
        let early = tokio::time::timeout(Duration::from_millis(50), connection.peek(&mut next));
        assert!(early.await.is_err());
        connection.write_all(&frame::ACK).await.expect("answered");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_tells_what_was_lost() {
    let mut settings = no_heartbeats_needed();
    settings.sender.timeout = 200;
    let dispatch = "className = \"MessageDispatch15Interceptor\"\nmaxQueueSize = 65536";
    settings.interceptors = vec![toml::from_str(dispatch).expect("an interceptor")];
    let a = Node::start(&settings).await;
    let mut frozen = Played::start(&settings, true).await;
    let _connection = frozen.joined(&a).await;
    let id = frozen.member.id;
    let message = [0; 10_000];
    let posted = (0..10).filter(|_| a.channel.post(id, &message, SYNC).is_ok());
    assert_eq!(posted.count(), 6);
    assert_eq!(
        a.channel.post(id, &message, SYNC),
        Err(NotQueued(Why::Full))
    );
    assert_eq!(a.channel.status().members[0].dropped, 5);
}

/// With options 8 nobody waits for a message: whether it was lost is told as soon as there is a connection again.
#[tokio::test]
async fn a_queued_message_that_dies_with_its_connections_is_told() {
    let settings = no_heartbeats_needed();
    let a = Node::start(&settings).await;
    let mut played = Played::start(&settings, true).await;
    let mut connection = played.joined(&a).await;
    let id = played.member.id;
    let options = SYNC.with(SendOptions::ASYNC);
    assert_eq!(
        a.channel.send(id, b"hello", options, SOON).await,
        Delivery::Queued
    );
    read(&mut connection, 1).await;
    drop(connection);
    let listener = played.listener;
    let breaks = tokio::spawn(async move {
        loop {
            let (mut next, _) = listener.accept().await.expect("a connection");
            // Whatever brings something breaks: probes, and the message that is sent once more.
            tokio::spawn(async move { next.read_u8().await });
        }
    });
    let lost = |told: &Told| told.lost.load(Ordering::Relaxed) == 1;
    a.told.until("one is lost", lost).await;
    breaks.abort();
}

#[tokio::test]
async fn a_queued_message_that_is_refused_is_told() {
    let (a, b) = pair(&multicast()).await;
    b.told.refuse.store(true, Ordering::Relaxed);
    assert_eq!(a.send(&b, b"1").await, Delivery::Failed(Why::Refused));
    assert_eq!(a.told.lost.load(Ordering::Relaxed), 0, "its sender knows");
    let options = SYNC.with(SendOptions::ASYNC);
    assert_eq!(
        a.channel.send(b.id(), b"2", options, SOON).await,
        Delivery::Queued
    );
    let lost = |told: &Told| told.lost.load(Ordering::Relaxed) == 1;
    a.told.until("one is lost", lost).await;
}

#[tokio::test]
async fn strangers_and_hostile_bytes_are_dropped() {
    let mut settings = multicast();
    settings.receiver.max_frame_size = 100_000;
    let (a, b) = pair(&settings).await;
    let address = a.channel.local().address();
    let stranger = Member::native(MemberId([9; 16]), SocketAddr::from(([127, 0, 0, 1], 9)), "");
    let mut frame = Vec::new();
    let sender = stranger.package();
    let head = frame::Head {
        options: SYNC,
        timestamp: 0,
        id: [0; 16],
        sender: &sender,
    };
    head.write(&mut frame, |out| out.extend_from_slice(b"believe me"));

    let mut connection = TcpStream::connect(address).await.expect("connected");
    connection.write_all(&frame).await.expect("written");
    assert_eq!(read(&mut connection, 21).await, frame::FAILED_ACK);
    assert_eq!(a.channel.status().dropped_not_member, 1);

    // Junk before a probe that wants an answer; Tomcat would wait for ever.
    let head = frame::Head {
        options: SYNC.with(SendOptions::BYTE_MESSAGE),
        ..head
    };
    let mut probe = b"GET / HTTP/1.1\r\n\r\nFLT".to_vec();
    head.write(&mut probe, |out| out.extend_from_slice(&frame::PROBE));
    connection.write_all(&probe).await.expect("written");
    assert_eq!(read(&mut connection, 21).await, frame::ACK);

    let mut random = fastrand::Rng::with_seed(1);
    let mut hostile: Vec<Vec<u8>> = vec![
        b"FLT2002\xff\xff\xff\xff".to_vec(),
        b"FLT2002\x00\x01\x86\xa1".to_vec(),
        b"FLT2002\x00\x00\x00\x03abcdefghijk".to_vec(),
        b"FLT2002\x00\x00\x00\x00TLF2003".to_vec(),
        vec![b'x'; 200_000],
    ];
    for _ in 0..20 {
        let mut bytes = frame.clone();
        for _ in 0..3 {
            let at = random.usize(7..40);
            bytes[at] = random.u8(..);
        }
        hostile.push([bytes, vec![0; 120_000]].concat());
    }
    for bytes in &hostile {
        let mut connection = TcpStream::connect(address).await.expect("connected");
        // It may be closed while this is written.
        let _ = connection.write_all(bytes).await;
        let mut rest = Vec::new();
        let reading = connection.read_to_end(&mut rest);
        let ended = tokio::time::timeout(SOON, reading).await;
        assert!(ended.is_ok(), "still open after {:?}", &bytes[..11]);
    }
    let invalid = || a.channel.status().dropped_invalid;
    a.told
        .until("all are counted", |_| invalid() == hostile.len() as u64)
        .await;

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let group = SocketAddr::new(settings.membership.address, settings.membership.port);
    let package = stranger.package();
    for at in 0..package.len() {
        let mut bytes = package.clone();
        bytes[at] ^= 0x55;
        socket.send_to(&bytes, group).expect("sent");
        socket.send_to(&bytes[..at], group).expect("sent");
    }
    let ignored = || a.channel.status().datagrams_ignored;
    a.told
        .until("datagrams are ignored", |_| {
            ignored() >= package.len() as u64
        })
        .await;
    // All goes on as before.
    assert_eq!(a.channel.members().len(), 1);
    assert_eq!(b.send(&a, b"still there").await, Delivery::Acked);
    assert_eq!(a.told.bytes(), [b"still there".to_vec()]);
}

#[tokio::test]
async fn a_message_may_come_before_the_heartbeat_of_its_sender() {
    let settings = no_heartbeats_needed();
    let a = Node::start(&settings).await;
    let mut early = Played::start(&settings, true).await;
    let sender = early.member.package();
    let head = frame::Head {
        options: SYNC,
        timestamp: 0,
        id: [0; 16],
        sender: &sender,
    };
    let mut frame = Vec::new();
    head.write(&mut frame, |out| out.extend_from_slice(b"early"));
    let address = a.channel.local().address();
    let mut connection = TcpStream::connect(address).await.expect("connected");
    connection.write_all(&frame).await.expect("written");
    let _joined = early.joined(&a).await;
    assert_eq!(read(&mut connection, 21).await, frame::ACK);
    assert_eq!(a.told.bytes(), [b"early".to_vec()]);
}

#[tokio::test]
async fn a_member_that_announces_this_nodes_address_is_none() {
    let settings = no_heartbeats_needed();
    let a = Node::start(&settings).await;
    let mut twin = Played::start(&settings, true).await;
    twin.member.port = a.channel.local().port;
    twin.heartbeat();
    let mut other = Played::start(&settings, true).await;
    let _joined = other.joined(&a).await;
    assert_eq!(a.channel.members().len(), 1);
    assert_eq!(a.channel.members()[0].id, other.member.id);
}

#[test]
fn a_taken_port_leads_to_the_next_one_or_to_advice() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut settings = multicast();
    settings.receiver.port = port;
    settings.receiver.auto_bind = 100;
    let next = bind(&settings).expect("a free port").announced.port();
    assert!(next > port && next < port + 100, "{port} {next}");
    settings.receiver.auto_bind = 0;
    let error = bind(&settings).expect_err("it is taken").to_string();
    assert!(error.contains("set another receiver.port"), "{error}");
}

#[test]
fn an_address_that_leads_nowhere_is_never_announced() {
    let mut settings = multicast();
    settings.membership.bind = String::new();
    settings.receiver.address = ReceiverAddress::Address([0, 0, 0, 0].into());
    let bound = bind(&settings).expect("a free port");
    let local = bound.listener.local_addr().expect("its address");
    assert!(local.ip().is_unspecified());
    assert!(!bound.announced.ip().is_unspecified());
    assert_eq!(bound.announced.port(), local.port());
    // The interface that leads to the others is known: its address, even if it is the loopback's.
    settings.membership.bind = "127.0.0.1".into();
    settings.receiver.address = ReceiverAddress::Auto;
    let bound = bind(&settings).expect("a free port");
    assert!(bound.announced.ip().is_loopback());
}

#[tokio::test]
async fn messages_are_sent_from_any_runtime() {
    let settings = multicast();
    let a = Process::start(&settings);
    let b = Node::start(&settings).await;
    a.node.knows(&b).await;
    assert_eq!(a.node.send(&b, b"x").await, Delivery::Acked);
    let channel = a.node.channel.clone();
    let id = b.id();
    let late = a.runtime.spawn(async move {
        let all = [id];
        channel.send_all(&all, b"y", SYNC, SOON).await
    });
    assert_eq!(late.await.expect("it ends"), [Delivery::Acked]);
    assert_eq!(b.told.bytes(), [b"x".to_vec(), b"y".to_vec()]);
    a.runtime.shutdown_background();
}

#[tokio::test]
async fn a_slow_member_is_not_taken_for_a_frozen_one() {
    let mut settings = no_heartbeats_needed();
    settings.sender.timeout = 1000;
    let a = Node::start(&settings).await;
    let mut slow = Played::start(&settings, true).await;
    let mut connection = slow.joined(&a).await;
    let id = slow.member.id;
    const COUNT: u32 = 20;
    for _ in 0..COUNT {
        assert_eq!(a.channel.post(id, b"x", SYNC), Ok(()));
    }
    // All together take longer than one may.
    let len = frame::frame_len(slow.member.package_len(), 1);
    for _ in 0..COUNT {
        read(&mut connection, len).await;
        tokio::time::sleep(Duration::from_millis(80)).await;
        connection.write_all(&frame::ACK).await.expect("answered");
    }
    let acked = || a.channel.status().members[0].acked;
    a.told.until("all are answered", |_| acked() == 20).await;
    assert!(!a.told.has("stalled", id));
}

#[tokio::test]
async fn an_encrypted_message_that_comes_twice_is_dealt_with_once() {
    let mut settings = multicast();
    settings.encryption_key = "00112233445566778899aabbccddeeff".into();
    let a = Node::start(&settings).await;
    let key = encryption_key_bytes(&settings.encryption_key).expect("a key");
    let cipher = Cipher::new(Algorithm::Gcm, &key, true).expect("a key");
    let sender = Member::native(MemberId([9; 16]), SocketAddr::from(([127, 0, 0, 1], 9)), "");
    let frame = |iv: u8, time: u64| {
        let mut frame = Vec::new();
        let head = frame::Head {
            options: SYNC,
            timestamp: time,
            id: [0; 16],
            sender: &sender.package(),
        };
        head.write(&mut frame, |out| {
            cipher.encrypt([iv; 16], time, b"once", out);
        });
        frame
    };
    let now = Clock::system().now().0;
    let address = a.channel.local().address();
    let mut connection = TcpStream::connect(address).await.expect("connected");
    for (frame, answer) in [
        (frame(1, now), frame::ACK),
        (frame(1, now), frame::ACK),
        (frame(2, now - 60_000), frame::FAILED_ACK),
        (frame(3, now), frame::ACK),
    ] {
        connection.write_all(&frame).await.expect("written");
        assert_eq!(read(&mut connection, 21).await, answer);
    }
    assert_eq!(a.told.bytes(), [b"once".to_vec(), b"once".to_vec()]);
    let status = a.channel.status();
    assert_eq!((status.dropped_encryption, status.received), (2, 2));
}
