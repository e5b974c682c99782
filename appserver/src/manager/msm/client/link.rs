//! One connection to one node: commands go out one behind the other and answers come back in the same order. Opens it, and opens it
//! again when it breaks.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{self, Asked};
use super::{Peer, QUEUE_MAX};
use crate::manager::msm::protocol::{Answer, Command};

/// The longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The first pause before a broken connection is tried again; each is twice the one before (spymemcached's).
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// The longest pause: msm's `msm.maxReconnectDelay`.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A connection whose oldest command has waited so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// So many commands may be under way; more wait in the queue.
const UNDER_WAY_MAX: usize = 1024;

/// Bytes that are written at once when many commands wait; a single larger one is written whole.
const BATCH: usize = 64 << 10;

/// A command on its way, and who waits.
pub(super) struct Call {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// A command that was written.
struct UnderWay {
    asked: Asked,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

/// Serves the queue until nobody can put anything into it any more.
pub(super) async fn keep(peer: std::sync::Arc<Peer>, mut queue: mpsc::Receiver<Call>) {
    let mut pause = PAUSE_MIN;
    loop {
        let connecting = TcpStream::connect((peer.host.as_str(), peer.port));
        match timeout(CONNECT_MAX, connecting).await {
            Ok(Ok(stream)) => {
                pause = PAUSE_MIN;
                tracing::debug!(node = peer.id, "connected");
                peer.connections.fetch_add(1, Ordering::Relaxed);
                let ended = talk(stream, &mut queue).await;
                peer.connections.fetch_sub(1, Ordering::Relaxed);
                match ended {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(node = peer.id, error, "connection to a store node lost");
                    }
                }
            }
            Ok(Err(error)) => tracing::warn!(node = peer.id, %error, "store node not reached"),
            Err(_) => tracing::warn!(node = peer.id, "store node not reached in time"),
        }
        if !refuse(&mut queue, pause).await {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Commands fail at once until the pause is over. False: nobody is left to send any.
async fn refuse(queue: &mut mpsc::Receiver<Call>, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    loop {
        tokio::select! {
            () = sleep_until(end) => return true,
            call = queue.recv() => match call {
                // Nobody may wait for it any more.
                Some(call) => drop(call.answer.send(Answer::Failed)),
                None => return false,
            },
        }
    }
}

/// Commands out and answers in, until the connection breaks (an error that says how) or the queue ends. Whoever waits for an
/// answer then sees that it will not come.
async fn talk(mut stream: TcpStream, queue: &mut mpsc::Receiver<Call>) -> Result<(), String> {
    let lost = |error: std::io::Error| error.to_string();
    stream.set_nodelay(true).map_err(lost)?;
    let (mut reader, mut writer) = stream.split();
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    let (mut input, mut output, mut written) = (Vec::new(), Vec::new(), 0);
    let mut ended = false;
    while !ended || !under_way.is_empty() {
        let oldest = under_way.front().map(|first| first.since + SILENCE_MAX);
        let room = under_way.len() < UNDER_WAY_MAX && output.len() - written < BATCH && !ended;
        tokio::select! {
            read = reader.read_buf(&mut input) => {
                if read.map_err(lost)? == 0 {
                    return Err("the node closed it".into());
                }
                answer(&mut under_way, &mut input)?;
            }
            wrote = writer.write(&output[written..]), if written < output.len() => {
                written += wrote.map_err(lost)?;
                if written == output.len() {
                    output.clear();
                    output.shrink_to(BATCH);
                    written = 0;
                }
            }
            call = queue.recv(), if room => {
                let Some(first) = call else {
                    ended = true;
                    continue;
                };
                let mut next = Some(first);
                while let Some(call) = next {
                    send(call, &mut under_way, &mut output);
                    let room = under_way.len() < UNDER_WAY_MAX && output.len() - written < BATCH;
                    next = if room { queue.try_recv().ok() } else { None };
                }
                // Most of the time the socket takes it at once, which saves a turn.
                if let Ok(count) = writer.try_write(&output[written..]) {
                    written += count;
                }
                if written == output.len() {
                    output.clear();
                    written = 0;
                }
            }
            () = sleep_until(oldest.unwrap_or_else(Instant::now)), if oldest.is_some() => {
                return Err(format!("no answer for {} seconds", SILENCE_MAX.as_secs()));
            }
        }
    }
    Ok(())
}

fn send(call: Call, under_way: &mut VecDeque<UnderWay>, output: &mut Vec<u8>) {
    if call.answer.is_closed() {
        // It waited too long in the queue. What was never sent cannot be done late.
        return;
    }
    let asked = wire::encode(call.command, output);
    under_way.push_back(UnderWay {
        asked,
        since: Instant::now(),
        answer: call.answer,
    });
}

/// Gives out the answers that are complete.
fn answer(under_way: &mut VecDeque<UnderWay>, input: &mut Vec<u8>) -> Result<(), String> {
    let mut used = 0;
    while used < input.len() {
        let Some(first) = under_way.front() else {
            return Err("the node said something unasked".into());
        };
        let Some((answer, len)) =
            wire::decode(&first.asked, &input[used..]).map_err(|e| e.to_string())?
        else {
            break;
        };
        used += len;
        if let Some(first) = under_way.pop_front() {
            // Who waited may have given up.
            let _ = first.answer.send(answer);
        }
    }
    input.drain(..used);
    if input.is_empty() {
        input.shrink_to(BATCH);
    }
    Ok(())
}

/// A queue for a connection that is opened now.
pub(super) fn open(peer: &std::sync::Arc<Peer>) -> mpsc::Sender<Call> {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(keep(std::sync::Arc::clone(peer), queue));
    sender
}
