//! A proxy on its own thread, peers that follow a script, and a client that speaks bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proxy::config::Config;
use proxy::server::{Command, serve};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running proxy; stopped when dropped.
pub(crate) struct Proxy {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
    commands: tokio::sync::mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// The configuration in this text, with one worker, a free port and an admin port where it names none.
pub(crate) fn config(toml: &str) -> Config {
    let mut config: Config = toml::from_str(toml).unwrap_or_else(|e| panic!("{e}\n{toml}"));
    if !toml.contains("worker_processes") {
        config.worker_processes = 1;
    }
    if !toml.contains("listen") {
        config.listen = vec!["127.0.0.1:0".parse().expect("an address")];
    }
    config.admin = "127.0.0.1:0".into();
    config
}

impl Proxy {
    /// Starts a proxy before these peers with further settings.
    pub(crate) fn before(peers: &[&Peer], settings: &str) -> Self {
        let servers: Vec<String> = peers
            .iter()
            .map(|p| format!("{:?}", p.address.to_string()))
            .collect();
        Self::start(&format!("upstream = [{}]\n{settings}", servers.join(", ")))
    }

    pub(crate) fn start(toml: &str) -> Self {
        let config = config(toml);
        let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
        let (started, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
            let next = || {
                let receiver = Arc::clone(&receiver);
                async move { receiver.lock().await.recv().await.unwrap_or(Command::Stop) }
            };
            let tell = move |addresses: &[SocketAddr], admin: Option<SocketAddr>| {
                let _ = started.send((addresses.to_vec(), admin.expect("an admin port")));
            };
            runtime
                .block_on(serve(&config, tell, next))
                .expect("it serves");
        });
        let (addresses, admin) = address.recv_timeout(PATIENCE).expect("it starts");
        Self {
            addresses,
            admin,
            commands,
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addresses[0])
    }

    /// One request over a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Response {
        let mut client = self.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ));
        client.response()
    }

    /// One request to the admin port.
    pub(crate) fn ask_admin(&self, method: &str, path: &str) -> Response {
        let mut client = Client::connect(self.admin);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        ));
        client.response()
    }

    /// Waits until `/status` satisfies a condition.
    pub(crate) fn until_status(&self, what: &str, holds: impl Fn(&serde_json::Value) -> bool) {
        until(what, || {
            let status = self.ask_admin("GET", "/status").text();
            holds(&serde_json::from_str(&status).expect("JSON"))
        });
    }

    pub(crate) fn command(&self, command: Command) {
        self.commands.send(command).expect("it runs");
    }

    pub(crate) fn reload(&self, toml: &str) {
        self.command(Command::Reload(Box::new(config(toml))));
    }

    /// Waits for the end of the process's work.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the proxy panicked"
            );
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        self.wait();
    }
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client, or a peer's side of a connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) unread: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("it listens"))
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the other side reads");
    }

    /// Reads more; false at the end or after a reset.
    pub(crate) fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                read > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!(
                "nothing came: {error}; so far {:?}",
                self.unread.escape_ascii().to_string()
            ),
        }
    }

    /// Exactly these bytes come next.
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        while self.unread.len() < bytes.len() && self.more() {}
        let got: Vec<u8> = self
            .unread
            .drain(..bytes.len().min(self.unread.len()))
            .collect();
        assert_eq!(
            got.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
    }

    /// All that comes until the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.unread)
    }

    /// Nothing more comes, and the other side has ended.
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert_eq!(rest.escape_ascii().to_string(), "");
    }

    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a socket");
    }

    /// A message's head with its empty line; `None` at the end of the connection.
    pub(crate) fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let head = self.head().expect("a response");
        let status: u16 = head[9..12].parse().expect("a status");
        let bodyless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let (body, complete) = if bodyless {
            (Vec::new(), true)
        } else {
            self.body(&head, true)
        };
        Response {
            status,
            head,
            body,
            complete,
        }
    }

    fn body(&mut self, head: &str, is_response: bool) -> (Vec<u8>, bool) {
        if field(head, "transfer-encoding").is_some() {
            return self.chunks();
        }
        let length = field(head, "content-length").map(|l| l.parse::<usize>().expect("a length"));
        let Some(length) = length else {
            return if is_response {
                (self.rest(), true)
            } else {
                (Vec::new(), true)
            };
        };
        while self.unread.len() < length {
            if !self.more() {
                return (std::mem::take(&mut self.unread), false);
            }
        }
        (self.unread.drain(..length).collect(), true)
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line() else {
                return (body, false);
            };
            let size =
                usize::from_str_radix(line.split(';').next().expect("a size"), 16).expect("hex");
            if size == 0 {
                let mut trailers = String::new();
                while let Some(line) = self.line() {
                    if line.is_empty() {
                        self.trailers_seen(trailers);
                        return (body, true);
                    }
                    trailers += &line;
                }
                return (body, false);
            }
            while self.unread.len() < size + 2 {
                if !self.more() {
                    return (body, false);
                }
            }
            body.extend(self.unread.drain(..size));
            self.unread.drain(..2);
        }
    }

    fn trailers_seen(&mut self, trailers: String) {
        TRAILERS.with(|seen| seen.replace(trailers));
    }

    /// A request; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let (body, complete) = self.body(&head, false);
        Some(Request {
            head,
            body,
            complete,
        })
    }
}

thread_local! {
    /// The trailers of the last chunked body that this thread has read.
    pub(crate) static TRAILERS: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// The value of a field, without regard to case; several are joined.
pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    let values: Vec<_> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The whole body came.
    pub(crate) complete: bool,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }
}

/// A peer that does what its script says with each connection.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Requests that were read, in order.
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    _held: Option<socket2::Socket>,
}

impl Peer {
    /// Calls `script` with the number of the connection, from 0, and the connection.
    pub(crate) fn scripted(script: impl Fn(usize, &mut Client) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, counter) = (Arc::new(script), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(number, &mut Client::over(stream)));
            }
        });
        Self {
            address,
            requests: Arc::default(),
            connections,
            _held: None,
        }
    }

    /// Answers every request with what `answer` makes of it, and keeps the connection.
    pub(crate) fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let peer = Self::scripted(move |_, client| {
            client
                .stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .expect("a socket");
            while let Some(request) = client.request() {
                let bytes = answer(&request);
                seen.lock().expect("a list").push(request);
                if client.stream.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
        Self { requests, ..peer }
    }

    /// Answers 200 with this text.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::answering(move |_| ok(text))
    }

    /// An address where nobody listens, and nobody can while this lives.
    pub(crate) fn dead() -> Self {
        let kind = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a free port");
        let address = socket.local_addr().expect("an address");
        Self {
            address: address.as_socket().expect("IPv4"),
            requests: Arc::default(),
            connections: Arc::default(),
            _held: Some(socket),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.requests.lock().expect("a list").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A response with this text.
pub(crate) fn ok(text: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}
