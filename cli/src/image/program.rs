//! What can be told of a program from its file: for which machine it is, and whether it needs anything beside it.

use super::document::Platform;

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The machines that it runs on.
    pub platform: Platform,
    /// The loader that it asks for; a static program asks for none.
    pub loader: Option<String>,
}

/// Why a file is not a program that an image could hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Another kind of file.
    #[error("it is not an ELF program")]
    NotElf,
    /// The file ends before what its head promises.
    #[error("it is cut off")]
    CutOff,
    /// A machine that no image names.
    #[error("it is for a machine that is neither x86-64 nor arm64 (ELF machine {0})")]
    OtherMachine(u16),
}

const MAGIC: &[u8] = b"\x7fELF";
/// 64 bits, little endian.
const CLASS_AND_ORDER: &[u8] = &[2, 1];
/// The program header that names the loader.
const INTERPRETER: u32 = 3;

impl Program {
    /// Reads the head of an ELF file.
    ///
    /// # Errors
    /// When it is none, or for another machine.
    pub fn read(bytes: &[u8]) -> Result<Self, ProgramError> {
        let head = bytes.get(..6).ok_or(ProgramError::NotElf)?;
        if !head.starts_with(MAGIC) {
            return Err(ProgramError::NotElf);
        }
        let machine = number(bytes, 18, 2)?;
        let architecture = match (&head[4..], machine) {
            (CLASS_AND_ORDER, 62) => "amd64",
            (CLASS_AND_ORDER, 183) => "arm64",
            _ => return Err(ProgramError::OtherMachine(u16::try_from(machine).unwrap_or(0))),
        };
        let platform = Platform { architecture: architecture.to_owned(), os: "linux".to_owned() };
        Ok(Self { platform, loader: loader(bytes)? })
    }

    /// Whether it runs with nothing beside it.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.loader.is_none()
    }
}

fn loader(bytes: &[u8]) -> Result<Option<String>, ProgramError> {
    let (start, size, count) = (number(bytes, 32, 8)?, number(bytes, 54, 2)?, number(bytes, 56, 2)?);
    for at in 0..count {
        let header =
            at.checked_mul(size).and_then(|offset| start.checked_add(offset)).ok_or(ProgramError::CutOff)?;
        if number(bytes, header, 4)? != u64::from(INTERPRETER) {
            continue;
        }
        let field = |offset: u64| number(bytes, header.checked_add(offset).ok_or(ProgramError::CutOff)?, 8);
        let text = slice(bytes, field(8)?, field(32)?)?;
        return Ok(Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()));
    }
    Ok(None)
}

/// The number of `length` bytes at `at`, the smallest byte first.
fn number(bytes: &[u8], at: u64, length: u64) -> Result<u64, ProgramError> {
    Ok(slice(bytes, at, length)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn slice(bytes: &[u8], at: u64, length: u64) -> Result<&[u8], ProgramError> {
    let start = usize::try_from(at).map_err(|_| ProgramError::CutOff)?;
    let length = usize::try_from(length).map_err(|_| ProgramError::CutOff)?;
    let end = start.checked_add(length).ok_or(ProgramError::CutOff)?;
    bytes.get(start..end).ok_or(ProgramError::CutOff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program of no use: its head says the machine and, when there is one, the loader.
    fn specimen(machine: u16, loader: Option<&str>) -> Vec<u8> {
        const HEAD: usize = 64;
        const HEADER: usize = 56;
        let mut bytes = vec![0; HEAD + HEADER];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(CLASS_AND_ORDER);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        if let Some(loader) = loader {
            bytes[HEAD] = 3;
            bytes[HEAD + 8] = 120;
            bytes[HEAD + 32..HEAD + 40].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
            bytes.extend(loader.bytes());
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn a_static_program_asks_for_no_loader() {
        let program = Program::read(&specimen(62, None)).unwrap();
        assert!(program.is_static());
        assert_eq!(program.platform.to_string(), "linux/amd64");
        assert_eq!(Program::read(&specimen(183, None)).unwrap().platform.architecture, "arm64");
    }

    #[test]
    fn a_dynamic_program_names_its_loader() {
        let program = Program::read(&specimen(62, Some("/lib64/ld-linux-x86-64.so.2"))).unwrap();
        assert_eq!(program.loader.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        // This test itself is one: the toolchain links tests dynamically.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!Program::read(&own).unwrap().is_static());
    }

    #[test]
    fn what_is_no_program_is_told_apart() {
        assert_eq!(Program::read(b"#!/bin/sh\n"), Err(ProgramError::NotElf));
        assert_eq!(Program::read(b""), Err(ProgramError::NotElf));
        assert_eq!(Program::read(&specimen(8, None)), Err(ProgramError::OtherMachine(8)));
        assert_eq!(Program::read(&specimen(62, None)[..40]), Err(ProgramError::CutOff));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), elf in any::<bool>()) {
            if elf && bytes.len() > 20 {
                bytes[..4].copy_from_slice(MAGIC);
                bytes[4..6].copy_from_slice(CLASS_AND_ORDER);
                bytes[18..20].copy_from_slice(&[62, 0]);
            }
            Program::read(&bytes).ok();
        }
    }
}
