//! `<Interceptor>`: what stands between the channel and the wire. Their work is built in; these are its settings.

use serde::{Deserialize, Serialize};

use super::{SettingsError, range, wrong};
use crate::tribes::encrypt::{Algorithm, KeyError};

/// An interceptor, by the name of its class, with or without the package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "className")]
pub enum Interceptor {
    /// Verifies suspicions by connecting.
    #[serde(
        rename = "org.apache.catalina.tribes.group.interceptors.TcpFailureDetector",
        alias = "TcpFailureDetector"
    )]
    TcpFailureDetector(FailureDetector),
    /// The queue of asynchronous messages. The article's `MessageDispatch15Interceptor` is gone from Tomcat since 8.5 and means
    /// the same.
    #[serde(
        rename = "org.apache.catalina.tribes.group.interceptors.MessageDispatchInterceptor",
        alias = "MessageDispatchInterceptor",
        alias = "org.apache.catalina.tribes.group.interceptors.MessageDispatch15Interceptor",
        alias = "MessageDispatch15Interceptor"
    )]
    MessageDispatch(MessageDispatch),
    /// A shared key.
    #[serde(
        rename = "org.apache.catalina.tribes.group.interceptors.EncryptInterceptor",
        alias = "EncryptInterceptor"
    )]
    Encrypt(Encrypt),
}

/// The attributes of `TcpFailureDetector`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct FailureDetector {
    /// Write something after connecting.
    pub perform_send_test: bool,
    /// And wait for an answer.
    pub perform_read_test: bool,
    /// The longest time to connect, in milliseconds.
    pub connect_timeout: u64,
    /// The longest wait for that answer, in milliseconds.
    pub read_test_timeout: u64,
    /// Tomcat: seconds after which a suspicion is forgotten.
    pub remove_suspects_timeout: u64,
}

impl Default for FailureDetector {
    fn default() -> Self {
        Self {
            perform_send_test: true,
            perform_read_test: false,
            connect_timeout: 1000,
            read_test_timeout: 5000,
            remove_suspects_timeout: 300,
        }
    }
}

/// The attributes of `MessageDispatchInterceptor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct MessageDispatch {
    /// The most bytes that wait for one member.
    pub max_queue_size: u64,
    /// Tomcat: send in the request's thread when the queue is full. Here nobody is held up: the message fails.
    pub always_send: bool,
    /// Tomcat: threads that send; here each member has a task.
    pub max_threads: u32,
    /// Tomcat: threads that are kept.
    pub max_spare_threads: u32,
    /// Tomcat: milliseconds that a thread is kept.
    pub keep_alive_time: u64,
}

impl Default for MessageDispatch {
    fn default() -> Self {
        Self {
            max_queue_size: 64 << 20,
            always_send: true,
            max_threads: 10,
            max_spare_threads: 2,
            keep_alive_time: 5000,
        }
    }
}

/// The attributes of `EncryptInterceptor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Encrypt {
    /// `AES/GCM/NoPadding` or `AES/CBC/PKCS5Padding`.
    pub encryption_algorithm: String,
    /// 32, 48 or 64 hexadecimal digits, the same on all members. Never shown.
    #[serde(skip_serializing)]
    pub encryption_key: String,
    /// The most milliseconds that a message may be old, and that the clocks of two members may differ. 0: the form of Tomcats before
    /// they looked for messages that are sent twice; the others must be such, too.
    pub replay_window_time: u64,
    /// How many messages are remembered; older ones are then refused even if they are young enough. Tomcat: 8192, which refuses
    /// messages that were 0.2 s under way when there are 40,000 in a second.
    pub replay_window_message_count: u32,
}

impl Default for Encrypt {
    fn default() -> Self {
        Self {
            encryption_algorithm: Algorithm::default().name().into(),
            encryption_key: String::new(),
            replay_window_time: 10_000,
            replay_window_message_count: 131_072,
        }
    }
}

impl Encrypt {
    /// The algorithm; `None`: not built.
    pub fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::from_name(&self.encryption_algorithm)
    }

    fn check(&self) -> Result<(), SettingsError> {
        if self.algorithm().is_none() {
            return wrong(format!(
                "encryptionAlgorithm = `{}` is not built: use AES/GCM/NoPadding, or AES/CBC/PKCS5Padding",
                self.encryption_algorithm
            ));
        }
        if self.encryption_key.is_empty() {
            return wrong(
                "EncryptInterceptor needs an encryptionKey: 32, 48 or 64 hexadecimal digits, the same on all members",
            );
        }
        check_key("EncryptInterceptor", &self.encryption_key)?;
        range("replayWindowTime", self.replay_window_time, 0, 3_600_000)?;
        let count = self.replay_window_message_count;
        range("replayWindowMessageCount", count, 1, 16 << 20)
    }
}

/// The bytes of a key; says how long it is when that is wrong, 0 for what is not hexadecimal.
pub fn encryption_key_bytes(digits: &str) -> Result<Vec<u8>, KeyError> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(KeyError(0));
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| KeyError(0));
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(byte)
        .collect::<Result<_, _>>()?;
    match bytes.len() {
        16 | 24 | 32 => Ok(bytes),
        len => Err(KeyError(len)),
    }
}

fn check_key(setting: &str, digits: &str) -> Result<(), SettingsError> {
    // The digits are a secret and are not repeated.
    encryption_key_bytes(digits).map(drop).map_err(|_| {
        SettingsError(format!(
            "{setting}: encryptionKey is no key: write 32, 48 or 64 hexadecimal digits"
        ))
    })
}

/// Refuses what cannot work.
pub(super) fn check(interceptors: &[Interceptor], key: &str) -> Result<(), SettingsError> {
    let place = |of: fn(&Interceptor) -> bool| interceptors.iter().position(of);
    let detector = place(|i| matches!(i, Interceptor::TcpFailureDetector(_)));
    let encrypt = place(|i| matches!(i, Interceptor::Encrypt(_)));
    for (at, interceptor) in interceptors.iter().enumerate() {
        let same = |other: &Interceptor| {
            std::mem::discriminant(other) == std::mem::discriminant(interceptor)
        };
        if interceptors[..at].iter().any(same) {
            return wrong("interceptors: one stands there twice; remove one");
        }
        match interceptor {
            Interceptor::TcpFailureDetector(detector) => {
                range(
                    "TcpFailureDetector: connectTimeout",
                    detector.connect_timeout,
                    1,
                    60_000,
                )?;
                range(
                    "TcpFailureDetector: readTestTimeout",
                    detector.read_test_timeout,
                    1,
                    60_000,
                )?;
            }
            Interceptor::MessageDispatch(dispatch) => {
                let size = dispatch.max_queue_size;
                range(
                    "MessageDispatchInterceptor: maxQueueSize",
                    size,
                    64 << 10,
                    16 << 30,
                )?;
            }
            Interceptor::Encrypt(encrypt) => encrypt.check()?,
        }
    }
    if let (Some(detector), Some(encrypt)) = (detector, encrypt)
        && detector < encrypt
    {
        return wrong(
            "interceptors: EncryptInterceptor must stand before TcpFailureDetector, as in Tomcat: move it up",
        );
    }
    if !key.is_empty() {
        if encrypt.is_some() {
            return wrong(
                "encryptionKey is short for an EncryptInterceptor, and there is one: remove either",
            );
        }
        check_key("cluster", key)?;
    }
    Ok(())
}
