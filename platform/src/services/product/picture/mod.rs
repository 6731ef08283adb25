//! Pictures of products, drawn: a motif before a scene, in a palette. The same product always looks the same.
//!
//! Motifs are SVG fragments in the sheets beside this file, each after a line `<!-- name -->`; they paint with the
//! gradients `main`, `accent`, `light`, `dark` and `shade`, which the palette defines. Only presentation attributes
//! are used, no style: a strict content security policy has nothing to object to. A gradient does not paint a line
//! that is exactly upright or level (its box is empty), so such lines end in a step of a tenth.
//!
//! # Adding one
//! A motif is a section in a sheet (600 × 600, standing on y = 478) and, if a title may ask for it by other words
//! than its name, a line in [`WORDS`].

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::store::{Store, catalogue_tag};
use crate::cache::Loaded;
use crate::http::Problem;

/// How long a picture is kept: it changes only with its product, and that makes it stale.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 3600);

const SHEETS: [&str; 4] = [
    include_str!("motifs_table.svg"),
    include_str!("motifs_home.svg"),
    include_str!("motifs_wear.svg"),
    include_str!("motifs_desk.svg"),
];
/// What is drawn when nothing else is known.
const FALLBACK: &str = "gift";

struct Palette {
    name: &'static str,
    /// The wall, from the top left to the bottom right.
    wall: [&'static str; 2],
    main: [&'static str; 2],
    accent: [&'static str; 2],
    light: [&'static str; 2],
    dark: [&'static str; 2],
}

const fn palette(
    name: &'static str,
    wall: [&'static str; 2],
    main: [&'static str; 2],
    accent: [&'static str; 2],
    light: [&'static str; 2],
    dark: [&'static str; 2],
) -> Palette {
    Palette { name, wall, main, accent, light, dark }
}

const PALETTES: [Palette; 14] = [
    palette(
        "clay",
        ["#fbe9dd", "#f0c6a8"],
        ["#d9825b", "#b65a38"],
        ["#f3b88f", "#e08f5f"],
        ["#fffaf4", "#f6e3d2"],
        ["#5b2f22", "#3d1f17"],
    ),
    palette(
        "sage",
        ["#edf3e6", "#c7d8b9"],
        ["#8fae7c", "#64875a"],
        ["#d8b76a", "#b98f43"],
        ["#fdfdf6", "#e6edd9"],
        ["#34452f", "#222f1f"],
    ),
    palette(
        "ocean",
        ["#e0f1f6", "#a9d3e0"],
        ["#3f93ab", "#23697f"],
        ["#f4a261", "#dd7f3e"],
        ["#fbffff", "#d8edf2"],
        ["#173f4d", "#0d2934"],
    ),
    palette(
        "sand",
        ["#faf3e3", "#e9d4a8"],
        ["#d9b779", "#b58d4b"],
        ["#7d9a95", "#587570"],
        ["#fffdf6", "#f3e8cf"],
        ["#574529", "#3a2e1b"],
    ),
    palette(
        "plum",
        ["#f3e6f2", "#d3b1d2"],
        ["#8c5a94", "#643a6e"],
        ["#e6a4b4", "#cc7489"],
        ["#fffaff", "#efdcee"],
        ["#3b2142", "#27142d"],
    ),
    palette(
        "mustard",
        ["#fdf4d9", "#f1d88a"],
        ["#e2b033", "#bd8717"],
        ["#516b82", "#374d62"],
        ["#fffdf3", "#f8ebc2"],
        ["#473512", "#2f230b"],
    ),
    palette(
        "rose",
        ["#fdebec", "#f3c0c6"],
        ["#e08b98", "#bd5f70"],
        ["#8fa58b", "#688064"],
        ["#fffafa", "#f9dfe1"],
        ["#57262f", "#3a181f"],
    ),
    palette(
        "slate",
        ["#eaeef2", "#bcc8d4"],
        ["#71869b", "#4b5f74"],
        ["#e3a95c", "#c28436"],
        ["#fdfeff", "#dfe6ec"],
        ["#232f3b", "#161e27"],
    ),
    palette(
        "forest",
        ["#e3efe7", "#a3c7b0"],
        ["#3f7d5c", "#275a40"],
        ["#e0a458", "#bf7f31"],
        ["#fafffb", "#d7e9dd"],
        ["#163325", "#0d2218"],
    ),
    palette(
        "sky",
        ["#e8f0fd", "#b4cdf6"],
        ["#5f8fdb", "#3c68b3"],
        ["#f7c866", "#e0a336"],
        ["#fcfdff", "#dae6fb"],
        ["#1d3159", "#12203d"],
    ),
    palette(
        "coral",
        ["#ffece5", "#ffc3ae"],
        ["#f27d61", "#cf5439"],
        ["#4f9d94", "#31756d"],
        ["#fffbf9", "#ffe1d7"],
        ["#5a241a", "#3c1710"],
    ),
    palette(
        "cream",
        ["#f7f2ea", "#e2d5c1"],
        ["#efe3cd", "#d2bd9a"],
        ["#b9775a", "#945339"],
        ["#fffefb", "#f5ecdd"],
        ["#54432f", "#392d1f"],
    ),
    palette(
        "ink",
        ["#e7e8f0", "#b3b7cf"],
        ["#3d4468", "#262b47"],
        ["#e8795e", "#c65740"],
        ["#fdfdff", "#dcdfec"],
        ["#161930", "#0d0f20"],
    ),
    palette(
        "mint",
        ["#e4f7f0", "#ade1cd"],
        ["#5bbd9b", "#379173"],
        ["#f2a7a0", "#d97d75"],
        ["#fafffd", "#d5f1e6"],
        ["#1b4538", "#102e25"],
    ),
];

/// Words of a title or category, and the motif they ask for. The first that a title has wins.
const WORDS: &[(&str, &str)] = &[
    ("coffee", "pouch"),
    ("espresso", "pouch"),
    ("beans", "pouch"),
    ("tea", "tin"),
    ("matcha", "tin"),
    ("cup", "mug"),
    ("cups", "mug"),
    ("filter", "dripper"),
    ("saucepan", "pan"),
    ("skillet", "pan"),
    ("plate", "plates"),
    ("dish", "bowl"),
    ("salad", "bowl"),
    ("glasses", "glass"),
    ("tumbler", "glass"),
    ("carafe", "bottle"),
    ("honey", "jar"),
    ("jam", "jar"),
    ("spice", "jar"),
    ("knives", "knife"),
    ("light", "pendant"),
    ("throw", "blanket"),
    ("pillow", "cushion"),
    ("flowers", "vase"),
    ("box", "gift"),
    ("set", "gift"),
    ("shirt", "shirt"),
    ("t", "tee"),
    ("jumper", "sweater"),
    ("pullover", "sweater"),
    ("cardigan", "sweater"),
    ("hoodie", "sweater"),
    ("coat", "jacket"),
    ("parka", "jacket"),
    ("hat", "beanie"),
    ("cap", "beanie"),
    ("sock", "socks"),
    ("bag", "tote"),
    ("rucksack", "backpack"),
    ("daypack", "backpack"),
    ("purse", "wallet"),
    ("luggage", "suitcase"),
    ("trolley", "suitcase"),
    ("thermos", "flask"),
    ("journal", "notebook"),
    ("planner", "notebook"),
    ("diary", "notebook"),
    ("pencil", "pencils"),
    ("envelopes", "cards"),
    ("card", "cards"),
    ("postcards", "cards"),
    ("organizer", "tray"),
    ("novel", "book"),
    ("pot", "plant"),
    ("planter", "plant"),
    ("watering", "can"),
    ("seed", "seeds"),
    ("spade", "trowel"),
    ("feeder", "birdhouse"),
    ("earphones", "headphones"),
    ("earbuds", "headphones"),
    ("soundbar", "speaker"),
    ("record", "turntable"),
    ("vinyl", "turntable"),
    ("shampoo", "bottle"),
    ("lotion", "bottle"),
    ("oil", "bottle"),
    ("towel", "towels"),
    ("clothing", "tee"),
    ("shoes", "socks"),
    ("bags", "tote"),
    ("garden", "plant"),
    ("books", "book"),
    ("audio", "speaker"),
    ("bath", "soap"),
    ("kitchen", "bowl"),
    ("home", "lamp"),
    ("stationery", "notebook"),
];

impl Store {
    /// The picture of a product, serialised.
    pub(super) async fn picture(&self, slug: &str) -> Result<Loaded, Problem> {
        let sql = "SELECT title, category, attrs FROM product_products WHERE slug = $1";
        let row = self.db.read_one(sql, vec![slug.into()]).await?;
        let row = row.ok_or_else(|| Problem::not_found("product"))?;
        let attrs: serde_json::Value = row.get("attrs")?;
        let wanted = |what: &str| attrs.pointer(&format!("/picture/{what}")).and_then(|name| name.as_str());
        let (title, category): (String, String) = (row.get("title")?, row.get("category")?);
        let svg = draw(slug, &title, &category, wanted("motif"), wanted("palette"));
        Ok(Loaded { body: Bytes::from(svg), tags: vec![catalogue_tag()] })
    }
}

/// Draws the product called `title`; an unknown motif or palette is chosen instead.
fn draw(slug: &str, title: &str, category: &str, motif: Option<&str>, palette: Option<&str>) -> String {
    let seed = seed_of(slug);
    let motif = motif.and_then(find_motif).unwrap_or_else(|| choose_motif(title, category));
    let palette = palette
        .and_then(|name| PALETTES.iter().find(|palette| palette.name == name))
        .unwrap_or(&PALETTES[place(seed, PALETTES.len())]);
    let mut svg = String::with_capacity(4_096);
    svg.push_str(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 600" width="600" height="600" role="img">"#);
    _ = write!(svg, "<title>{}</title><defs>", escaped(title));
    gradient(&mut svg, "wall", palette.wall, "0 0 1 1");
    gradient(&mut svg, "main", palette.main, "0 0 .4 1");
    gradient(&mut svg, "accent", palette.accent, "0 0 .4 1");
    gradient(&mut svg, "light", palette.light, "0 0 0 1");
    gradient(&mut svg, "dark", palette.dark, "0 0 0 1");
    _ = write!(
        svg,
        r#"<linearGradient id="shade" x1="0" y1="0" x2="1" y2=".3"><stop stop-color="{0}" stop-opacity=".02"/><stop offset="1" stop-color="{0}" stop-opacity=".34"/></linearGradient>"#,
        palette.dark[1]
    );
    _ = write!(
        svg,
        r#"<radialGradient id="shadow"><stop stop-color="{0}" stop-opacity=".42"/><stop offset=".6" stop-color="{0}" stop-opacity=".16"/><stop offset="1" stop-color="{0}" stop-opacity="0"/></radialGradient>"#,
        palette.dark[1]
    );
    svg.push_str(r#"</defs><rect width="600" height="600" fill="url(#wall)"/>"#);
    svg.push_str(scene(seed));
    svg.push_str(r#"<ellipse cx="304" cy="490" rx="218" ry="32" fill="url(#shadow)"/>"#);
    // A few look the other way.
    let mirrored = if seed.is_multiple_of(4) { " translate(600 0) scale(-1 1)" } else { "" };
    _ = write!(svg, r#"<g transform="translate(42 74) scale(.86){mirrored}">{motif}</g></svg>"#);
    svg
}

/// What is behind the motif.
fn scene(seed: u64) -> &'static str {
    match place(seed >> 8, 6) {
        0 => r#"<circle cx="300" cy="282" r="206" fill="url(#light)" fill-opacity=".62"/>"#,
        1 => {
            r#"<path d="M112 490V262c0-250 376-250 376 0v228z" fill="url(#light)" fill-opacity=".58"/><path d="M0 490h600v110H0z" fill="url(#light)" fill-opacity=".38"/>"#
        }
        2 => {
            r#"<circle cx="430" cy="160" r="84" fill="url(#accent)" fill-opacity=".35"/><path d="M0 430c130-90 250-60 340-10s170 40 260-20v200H0z" fill="url(#light)" fill-opacity=".6"/>"#
        }
        3 => {
            r#"<path d="M0 476h600v124H0z" fill="url(#light)" fill-opacity=".5"/><path d="M380 0h150L180 476H30z" fill="url(#light)" fill-opacity=".42"/><path d="M560 0h24L234 476h-24z" fill="url(#light)" fill-opacity=".36"/>"#
        }
        4 => {
            r#"<path d="M300 54c120-20 226 70 214 196s-100 220-226 212S80 356 92 236 180 74 300 54z" fill="url(#light)" fill-opacity=".6"/><circle cx="118" cy="120" r="26" fill="url(#accent)" fill-opacity=".4"/><circle cx="500" cy="452" r="16" fill="url(#accent)" fill-opacity=".45"/>"#
        }
        _ => {
            r#"<path d="M0 486h600v114H0z" fill="url(#accent)" fill-opacity=".22"/><circle cx="300" cy="300" r="226" fill="none" stroke="url(#light)" stroke-width="30" stroke-opacity=".5"/><circle cx="300" cy="300" r="160" fill="url(#light)" fill-opacity=".5"/>"#
        }
    }
}

fn gradient(svg: &mut String, id: &str, [from, to]: [&str; 2], line: &str) {
    let mut ends = line.split(' ');
    let mut end = || ends.next().unwrap_or("0");
    let (x1, y1, x2, y2) = (end(), end(), end(), end());
    _ = write!(
        svg,
        r#"<linearGradient id="{id}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"><stop stop-color="{from}"/><stop offset="1" stop-color="{to}"/></linearGradient>"#
    );
}

fn choose_motif(title: &str, category: &str) -> &'static str {
    let title = title.to_lowercase();
    let words = |text: &str| -> Vec<String> {
        text.split(|letter: char| !letter.is_alphanumeric()).map(str::to_owned).collect()
    };
    // The last word of a title is what the thing is: a "tea mug" is a mug.
    let asked = words(&title).into_iter().rev().chain(words(category));
    let synonym = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map(|(_, motif)| *motif);
    asked
        .filter(|word| !word.is_empty())
        .find_map(|word| find_motif(&word).or_else(|| synonym(&word).and_then(find_motif)))
        .or_else(|| find_motif(FALLBACK))
        .unwrap_or_default()
}

/// The fragment called `name`.
fn find_motif(name: &str) -> Option<&'static str> {
    if !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let heading = format!("<!-- {name} -->\n");
    SHEETS.iter().find_map(|sheet| {
        let (_, rest) = sheet.split_once(&heading)?;
        Some(rest.split("<!-- ").next().unwrap_or(rest).trim_end())
    })
}

/// FNV-1a: the same on every machine and in every version.
fn seed_of(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

fn place(seed: u64, of: usize) -> usize {
    usize::try_from(seed % of as u64).unwrap_or(0)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<&'static str> {
        let headings = SHEETS.iter().flat_map(|sheet| sheet.lines());
        headings.filter_map(|line| line.strip_prefix("<!-- ")?.strip_suffix(" -->")).collect()
    }

    #[test]
    fn a_product_always_looks_the_same_and_others_do_not() {
        let drawn = |slug: &str| draw(slug, "Stoneware Mug", "kitchen", None, None);
        assert_eq!(drawn("stoneware-mug"), drawn("stoneware-mug"));
        assert_ne!(drawn("stoneware-mug"), drawn("stoneware-mug-2"));
    }

    #[test]
    fn a_title_finds_its_motif() {
        let same = |title: &str, motif: &str| {
            assert_eq!(Some(choose_motif(title, "things")), find_motif(motif), "{title}")
        };
        same("Tea Mug", "mug");
        same("Merino Crew Jumper", "sweater");
        same("Something", FALLBACK);
        assert_eq!(Some(choose_motif("Nothing known", "garden")), find_motif("plant"));
        for (word, motif) in WORDS {
            assert!(find_motif(motif).is_some(), "{word} asks for {motif}, which nobody drew");
        }
    }

    #[test]
    fn every_motif_is_small_and_paints_with_the_palette_only() {
        assert!(names().len() > 50);
        for name in names() {
            let motif = find_motif(name).expect("it has a heading");
            assert!((200..3_000).contains(&motif.len()), "{name}: {}", motif.len());
            assert!(
                !motif.contains('#') || motif.matches('#').count() == motif.matches("url(#").count(),
                "{name}"
            );
            assert!(
                !motif.contains("style") && !motif.contains("script") && !motif.contains("href"),
                "{name}"
            );
            assert_eq!(motif.matches("<g").count(), motif.matches("</g>").count(), "{name}");
        }
    }

    #[test]
    fn a_title_cannot_break_out_of_the_picture() {
        let drawn = draw("x", "<script>&", "x", Some("../mug"), Some("no-such"));
        assert!(drawn.contains("&lt;script&gt;&amp;") && !drawn.contains("<script"));
    }
}
