//! Whatever a Tomcat with `BackupManager` says can be read or refused; what is read is written back the same.

#![no_main]

use appserver::manager::cluster::message::{MapMessage, RpcBody, Said};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(Ok(said)) = Said::decode(bytes) else {
        return;
    };
    let written = match &said {
        Said::Map(message) => {
            values(message);
            message.encode()
        }
        Said::Rpc(rpc) => {
            if let RpcBody::Ask(message) | RpcBody::Reply(Some(message)) = &rpc.body {
                values(message);
            }
            rpc.encode()
        }
    };
    assert_eq!(Said::decode(&written), Some(Ok(said)));
});

fn values(message: &MapMessage) {
    let _ = message.state();
    if let Ok((entries, _)) = message.entries() {
        let again = message.clone().with_entries(&entries);
        assert_eq!(again.entries(), Ok((entries, 0)));
    }
    if let Ok(Some(session)) = message.session() {
        let (again, failed) = message.clone().with_session(&session);
        if failed.is_empty() {
            // As text, since a NaN equals nothing.
            assert_eq!(format!("{:?}", again.session()), format!("{:?}", Ok::<_, ()>(Some(session))));
        }
    }
}
