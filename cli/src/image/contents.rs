//! What the image of the shop holds, and how it is run. Everything that is in it is named here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{HealthCheck, Nothing, RunConfig};
use super::tree::{Content, Owner, ROOT, Tree};

/// Who runs in the image: the user that images without root have by custom.
pub const SHOP: Owner = Owner { user: 65_532, group: 65_532 };

/// The program.
pub const PROGRAM: &str = "shopd";
/// The folder of the data.
pub const DATA: &str = "/data";
/// The port of the gateway.
const PORT: u16 = 8080;

/// Where programs look for the certificates that they trust.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nshop:x:65532:65532:shop:/data:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nshop:x:65532:\n";
/// Says that /etc/hosts comes before the name server, which older C libraries do not take for granted.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// What the program stands on: the users, how names are found, the certificates, a folder for data and one for what is
/// passing.
#[must_use]
pub fn base() -> Tree {
    let text = |text: &str| Content::File(text.as_bytes().to_vec());
    Tree::default()
        .with("etc/passwd", 0o644, ROOT, text(PASSWD))
        .with("etc/group", 0o644, ROOT, text(GROUP))
        .with("etc/nsswitch.conf", 0o644, ROOT, text(NSSWITCH))
        .with(CERTIFICATES, 0o644, ROOT, Content::File(certificates().into_bytes()))
        .with("tmp", 0o1777, ROOT, Content::Folder)
        .with("data", 0o700, SHOP, Content::Folder)
}

/// The program itself, in a layer of its own, so that a new release is all that travels.
#[must_use]
pub fn program(bytes: Vec<u8>) -> Tree {
    Tree::default().with(PROGRAM, 0o755, ROOT, Content::File(bytes))
}

/// Mozilla's roots as PEM: the same on every machine, unlike the system's bundle.
fn certificates() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// How the image is run unless one says otherwise.
#[must_use]
pub fn run_config(labels: BTreeMap<String, String>) -> RunConfig {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let program = format!("/{PROGRAM}");
    let seconds = |seconds: u64| seconds * 1_000_000_000;
    RunConfig {
        user: format!("{}:{}", SHOP.user, SHOP.group),
        exposed_ports: Some([(format!("{PORT}/tcp"), Nothing {})].into()),
        env: Some(vec![format!("SHOPCTL_DATA_DIR={DATA}")]),
        entrypoint: Some(words(&[&program])),
        cmd: Some(words(&["serve", "all", "--listen", &format!("0.0.0.0:{PORT}")])),
        volumes: Some([(DATA.to_owned(), Nothing {})].into()),
        working_dir: DATA.to_owned(),
        labels: Some(labels),
        stop_signal: "SIGTERM".to_owned(),
        healthcheck: Some(HealthCheck {
            test: words(&["CMD", &program, "health"]),
            interval: seconds(10),
            timeout: seconds(3),
            start_period: seconds(30),
            retries: 3,
        }),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn every_certificate_can_be_read_back() {
        let read: Vec<_> = CertificateDer::pem_slice_iter(certificates().as_bytes()).collect();
        assert_eq!(read.len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(read.into_iter().all(|certificate| certificate.is_ok()));
    }

    #[test]
    fn nothing_but_the_data_belongs_to_who_runs_and_nothing_else_may_be_written() {
        let mut own = Vec::new();
        let base = base();
        let program = program(Vec::new());
        for (path, entry) in base.entries().chain(program.entries()) {
            if entry.owner == SHOP {
                own.push(path.display().to_string());
            } else if path.to_str() != Some("tmp") {
                assert_eq!(entry.mode & 0o022, 0, "{} may be written by others", path.display());
            }
        }
        assert_eq!(own, ["data"]);
    }
}
