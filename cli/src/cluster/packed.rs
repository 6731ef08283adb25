//! Objects as compressed JSON, small enough for the data of a Secret.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::object::Object;

/// What a Secret may hold is 1 MiB; this leaves room for the rest.
pub const BYTES_MAX: usize = 900 * 1024;

/// The objects, compressed.
///
/// # Errors
/// When they cannot be written as JSON.
pub fn pack<'a>(objects: impl IntoIterator<Item = &'a Object>) -> anyhow::Result<Vec<u8>> {
    let values: Vec<&Value> = objects.into_iter().map(Object::value).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&serde_json::to_vec(&values)?)?;
    Ok(encoder.finish()?)
}

/// The objects again, from what a Secret's data have.
///
/// # Errors
/// When it is something else.
pub fn unpack(data: &str) -> anyhow::Result<Vec<Object>> {
    let mut text = Vec::new();
    GzDecoder::new(STANDARD.decode(data)?.as_slice()).read_to_end(&mut text)?;
    let values: Vec<Value> = serde_json::from_slice(&text)?;
    Ok(values.into_iter().map(Object::new).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_packed_comes_out_again() {
        let object =
            Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}})).unwrap();
        let packed = STANDARD.encode(pack([&object, &object]).unwrap());
        assert_eq!(unpack(&packed).unwrap(), [object.clone(), object]);
        assert!(unpack("not base64").is_err());
        assert!(unpack("bm90IGd6aXA=").is_err());
    }
}
