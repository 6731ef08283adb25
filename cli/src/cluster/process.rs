//! Which process this is, told so that another one on the same machine can say whether it is still there.

use std::fmt;
use std::str::FromStr;

/// A process of a machine that runs Linux: the machine's start, the namespace that its number is of, the number, and when it
/// was started, so that no other one is ever taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    boot: String,
    namespace: String,
    pid: u32,
    started: u64,
}

impl Process {
    /// This one; none where the system does not tell.
    #[must_use]
    pub fn own() -> Option<Self> {
        let pid = std::process::id();
        Some(Self { boot: boot()?, namespace: namespace()?, pid, started: started(pid)? })
    }

    /// Whether it has certainly ended. One of another machine, or that this one cannot see, has not.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        boot().as_ref() == Some(&self.boot)
            && namespace().as_ref() == Some(&self.namespace)
            && started(self.pid) != Some(self.started)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.boot, self.namespace, self.pid, self.started)
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ').map(str::to_owned);
        let mut word = || words.next().ok_or(());
        let (boot, namespace, pid, started) = (word()?, word()?, word()?, word()?);
        Ok(Self { boot, namespace, pid: pid.parse().map_err(drop)?, started: started.parse().map_err(drop)? })
    }
}

fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn namespace() -> Option<String> {
    Some(std::fs::read_link("/proc/self/ns/pid").ok()?.display().to_string())
}

/// When a process began, in ticks since the machine did; none when there is none of this number, or it only waits to be
/// buried.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything, in parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ended_is_gone_and_this_one_is_not() {
        let own = Process::own().unwrap();
        assert!(!own.is_gone());
        assert_eq!(own.to_string().parse(), Ok(own.clone()));

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Process { pid: child.id(), started: started(child.id()).unwrap(), ..own.clone() };
        assert!(!other.is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.is_gone());
        // Its number may be another's by now.
        assert!(Process { started: own.started + 1, ..own }.is_gone());
    }

    #[test]
    fn nothing_is_known_of_another_machine() {
        let own = Process::own().unwrap();
        assert!(!Process { boot: "another".to_owned(), pid: 0, ..own.clone() }.is_gone());
        assert!(!Process { namespace: "another".to_owned(), pid: 0, ..own }.is_gone());
        assert_eq!("nonsense".parse::<Process>(), Err(()));
    }
}
