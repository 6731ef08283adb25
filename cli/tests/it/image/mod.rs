//! The image, as a person builds, looks at and pushes it: what is unpacked, and what a registry keeps.

mod build;
mod push;
pub(crate) mod registry;

use std::os::unix::fs::PermissionsExt;

use crate::shopctl::Project;

/// A folder with a file `shopd` that looks like a static program: nobody runs it here.
fn project() -> Project {
    let project = Project::new();
    write_program(&project, "shopd", None);
    project
}

/// An ELF file of no use: for x86-64, and asking for `loader` when there is one.
pub(crate) fn write_program(project: &Project, name: &str, loader: Option<&str>) {
    let mut bytes = vec![0u8; 120];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = 62;
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    if let Some(loader) = loader {
        bytes[64] = 3;
        bytes[72] = 120;
        bytes[96] = u8::try_from(loader.len()).expect("a short name");
        bytes.extend(loader.bytes());
    }
    // Large and hard to squeeze, so that it is sent in more than one piece.
    let mut state: u32 = 1;
    for _ in 0..600_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push(u8::try_from(state >> 24).expect("a byte"));
    }
    let path = project.path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("permissions");
}
