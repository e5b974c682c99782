//! Who may do what: SASL in the binary protocol, the login of the text protocol.

use crate::auth::{self, Standing, Users};
use crate::protocol::binary::{Authenticate, Packet, Status};
use crate::protocol::login::Login;
use crate::protocol::output::Output;
use crate::protocol::text;

use super::{Asked, Executor};

/// What a client is told that has authenticated.
const AUTHENTICATED: &str = "Authenticated";
const LOGGED_IN: &str = "STORED";
const WRONG_LOGIN: &str = "CLIENT_ERROR authentication failure";

impl Executor<'_> {
    /// Whether a client that has shown this much may send such a packet.
    pub(super) fn admits(&self, packet: &Packet<'_>, standing: Standing) -> bool {
        /// version, and the three of SASL.
        const ALWAYS: [u8; 4] = [0x0b, 0x20, 0x21, 0x22];
        !self.figures.policy.stops(standing) || ALWAYS.contains(&packet.header.opcode)
    }

    /// A client that asks for mechanisms begins anew, as in memcached.
    pub(super) fn mechanisms(&self, asked: &mut Asked<'_>, standing: &mut Standing) {
        if self.figures.policy.sasl.is_none() {
            return asked.failed(Status::UnknownCommand);
        }
        standing.authenticated = false;
        asked.tell(auth::MECHANISM);
    }

    pub(super) fn authenticate(
        &self,
        asked: &mut Asked<'_>,
        step: &Authenticate<'_>,
        standing: &mut Standing,
    ) {
        let Some(users) = &self.figures.policy.sasl else {
            return asked.failed(Status::UnknownCommand);
        };
        let Some(mechanism) = step.mechanism else {
            return asked.failed(Status::InvalidArguments);
        };
        standing.authenticated = false;
        let is_known = mechanism.eq_ignore_ascii_case(auth::MECHANISM.as_bytes());
        if is_known && !step.is_step && step.credentials == Some(b"") {
            standing.begun = true;
            return asked.failed(Status::AuthContinue);
        }
        let credentials = step.credentials.and_then(auth::plain);
        let may = match step.is_step {
            true => standing.begun,
            false => is_known,
        };
        let is_good = may
            && !standing.ended
            && credentials.is_some_and(|(user, password)| users.check(user, password));
        if !step.is_step {
            (standing.begun, standing.ended) = (is_good, false);
        }
        self.count_authentication(is_good);
        if is_good {
            (standing.authenticated, standing.ended) = (true, true);
            asked.tell(AUTHENTICATED);
        } else {
            asked.failed(Status::AuthFailure);
        }
    }

    /// Authentication in the text protocol.
    pub(in crate::command) fn login(
        &self,
        login: &Login<'_>,
        standing: &mut Standing,
        out: &mut Output,
    ) {
        let users: Option<&Users> = self.figures.policy.login.as_ref();
        standing.authenticated = users.is_some_and(|users| users.check(login.user, login.password));
        self.count_authentication(standing.authenticated);
        let answer = match standing.authenticated {
            true => LOGGED_IN,
            false => WRONG_LOGIN,
        };
        text::encode_line(answer, out);
    }

    fn count_authentication(&self, is_good: bool) {
        self.counters.auth_cmds.bump();
        if !is_good {
            self.counters.auth_errors.bump();
        }
    }
}
