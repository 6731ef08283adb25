//! From a recipe to an image: layers, config, manifest, and their names. Pure: it reads nothing and writes nothing.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;

use super::contents;
use super::digest::Digest;
use super::document::{
    CONFIG, Descriptor, History, ImageConfig, LAYER, MANIFEST, Manifest, Platform, RootFs,
};
use super::layer::Layer;

/// Everything that decides what the image is. Equal recipes make equal digests.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The program.
    pub program: Vec<u8>,
    /// The machines that it runs on.
    pub platform: Platform,
    /// What is said about the image.
    pub labels: BTreeMap<String, String>,
    /// The time that every file and the image itself are as of.
    pub time_seconds: u64,
}

/// A blob by its name and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    /// Its name.
    pub digest: &'a Digest,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// An image that is ready to be carried.
#[derive(Clone, Debug)]
pub struct Image {
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Names the config.
    pub config: Descriptor,
    /// The config, as it is written.
    pub config_bytes: Vec<u8>,
    /// Names the manifest, and so the image.
    pub manifest: Descriptor,
    /// The manifest, as it is written.
    pub manifest_bytes: Vec<u8>,
}

impl Image {
    /// The compressed layers, config and manifest together: what travels to a node that has nothing of it.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.weight.size_bytes).sum::<u64>()
            + self.config.size
            + self.manifest.size
    }

    /// The layers as they are unpacked.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.weight.plain_bytes).sum()
    }

    /// Every blob: those that are named before those that name them.
    pub fn blobs(&self) -> impl Iterator<Item = Blob<'_>> {
        let layers =
            self.layers.iter().map(|layer| Blob { digest: &layer.weight.digest, bytes: &layer.blob });
        let config = Blob { digest: &self.config.digest, bytes: &self.config_bytes };
        let manifest = Blob { digest: &self.manifest.digest, bytes: &self.manifest_bytes };
        layers.chain([config, manifest])
    }
}

/// Lays the image out.
///
/// # Errors
/// Only when the time is beyond all calendars: the layers are in memory.
pub fn lay_out(recipe: Recipe) -> io::Result<Image> {
    let time = recipe.time_seconds;
    let created = i64::try_from(time)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| io::Error::other(format!("there is no such time: {time} s after 1970")))?
        .to_string();
    let layers = vec![
        Layer::of(&contents::base(), time, "users, name service, certificates, /tmp and /data")?,
        Layer::of(&contents::program(recipe.program), time, "the program /shopd")?,
    ];
    let history = |layer: &Layer| History {
        created: created.clone(),
        created_by: format!("shopctl image build: {}", layer.about),
        empty_layer: false,
    };
    let config = ImageConfig {
        created: created.clone(),
        platform: recipe.platform.clone(),
        config: contents::run_config(recipe.labels),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| layer.weight.plain_digest.clone()).collect(),
        },
        history: layers.iter().map(history).collect(),
    };
    let config_bytes = serde_json::to_vec(&config)?;
    let config = Descriptor::of(CONFIG, &config_bytes);
    let named = |layer: &Layer| Descriptor::new(LAYER, layer.weight.digest.clone(), layer.weight.size_bytes);
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: config.clone(),
        layers: layers.iter().map(named).collect(),
    };
    let manifest_bytes = serde_json::to_vec(&manifest)?;
    let mut manifest = Descriptor::of(MANIFEST, &manifest_bytes);
    manifest.platform = Some(recipe.platform);
    Ok(Image { layers, config, config_bytes, manifest, manifest_bytes })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::image) fn recipe() -> Recipe {
        Recipe {
            program: b"not a program, but as good as one".repeat(100),
            platform: Platform { architecture: "amd64".to_owned(), os: "linux".to_owned() },
            labels: [("org.opencontainers.image.title".to_owned(), "shop".to_owned())].into(),
            time_seconds: 0,
        }
    }

    #[test]
    fn the_same_recipe_has_the_same_digest_and_any_change_another() {
        let digest = |change: fn(&mut Recipe)| {
            let mut recipe = recipe();
            change(&mut recipe);
            lay_out(recipe).unwrap().manifest.digest
        };
        let same = digest(|_| ());
        assert_eq!(same, digest(|_| ()));
        let others = [
            digest(|recipe| recipe.program.push(0)),
            digest(|recipe| recipe.time_seconds = 1),
            digest(|recipe| recipe.platform.architecture = "arm64".to_owned()),
            digest(|recipe| recipe.labels.clear()),
        ];
        assert!(others.iter().all(|other| *other != same), "{others:?}");
    }

    /// The digest must not depend on the machine: this one was computed on another day.
    #[test]
    fn the_documents_are_written_as_ever() {
        let image = lay_out(recipe()).unwrap();
        let text = String::from_utf8(image.config_bytes.clone()).unwrap();
        let without_layers = text.split(r#","rootfs""#).next().unwrap();
        insta::assert_snapshot!(without_layers);
    }

    #[test]
    fn what_is_named_is_there_under_its_name() {
        let image = lay_out(recipe()).unwrap();
        let manifest: Manifest = serde_json::from_slice(&image.manifest_bytes).unwrap();
        let there: Vec<(Digest, u64)> =
            image.blobs().map(|blob| (Digest::of(blob.bytes), blob.bytes.len() as u64)).collect();
        for named in manifest.layers.iter().chain([&manifest.config]) {
            assert!(there.contains(&(named.digest.clone(), named.size)), "{named:?}");
        }
        assert!(image.blobs().all(|blob| *blob.digest == Digest::of(blob.bytes)));
    }

    #[test]
    fn a_time_that_nobody_will_see_is_refused() {
        assert!(lay_out(Recipe { time_seconds: u64::MAX, ..recipe() }).is_err());
    }
}
