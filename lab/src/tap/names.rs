//! Session IDs as `S1`, `S2`, … so that a command fits on a line and shows no credential.

/// So many sessions get a number; those after them keep their digits.
const NAMES_MAX: usize = 10_000;

/// The hexadecimal digits that a session ID begins with.
const DIGITS: usize = 32;

/// Numbers sessions in the order in which they are met.
#[derive(Debug, Clone, Default)]
pub struct Names {
    met: Vec<String>,
}

impl Names {
    /// The text with each session ID's digits replaced: `bak:S1-n2`.
    pub fn shorten(&mut self, text: &str) -> String {
        let mut short = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = find(rest) {
            let (before, id) = rest.split_at(at);
            let (id, after) = id.split_at(DIGITS);
            short.push_str(before);
            match self.number(id) {
                Some(number) => short.push_str(&format!("S{number}")),
                None => short.push_str(id),
            }
            rest = after;
        }
        short + rest
    }

    fn number(&mut self, id: &str) -> Option<usize> {
        let known = self.met.iter().position(|met| met == id);
        let known = known.or_else(|| {
            (self.met.len() < NAMES_MAX).then(|| self.met.push(id.to_owned()))?;
            Some(self.met.len() - 1)
        });
        known.map(|at| at + 1)
    }
}

/// Where so many hexadecimal digits in a row begin.
fn find(text: &str) -> Option<usize> {
    let mut run = 0;
    text.bytes().enumerate().find_map(|(at, byte)| {
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        (run == DIGITS).then(|| at + 1 - DIGITS)
    })
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn sessions_are_numbered_as_they_come() {
        let mut names = Names::default();
        let [a, b] = ["A", "B"].map(|digit| digit.repeat(32));
        assert_eq!(
            names.shorten(&format!("set bak:{a}-n1(0,0,5)=STORED")),
            "set bak:S1-n1(0,0,5)=STORED"
        );
        assert_eq!(
            names.shorten(&format!("get {b}-n2.WEB1={a}")),
            "get S2-n2.WEB1=S1"
        );
        assert_eq!(names.shorten("get ping-n2=miss"), "get ping-n2=miss");
    }
}
