//! The few drawings that the pages use, inline so that they take the text's colour and no extra request.

use askama::filters::Safe;

/// The drawing named `name`, hidden from screen readers: the words beside it say the same.
///
/// An unknown name draws nothing.
#[must_use]
pub fn icon(name: &str) -> Safe<String> {
    let Some(path) = path(name) else { return Safe(String::new()) };
    Safe(format!(
        "<svg viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.75\" \
         stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">{path}</svg>"
    ))
}

fn path(name: &str) -> Option<&'static str> {
    Some(match name {
        "bag" => {
            "<path d=\"M5.500 8h13l-1 11.200a2 2 0 0 1-2 1.800h-7a2 2 0 0 1-2-1.800z\"/>\
             <path d=\"M8.500 10.500V7a3.500 3.500 0 0 1 7 0v3.500\"/>"
        }
        "search" => "<circle cx=\"11\" cy=\"11\" r=\"6.500\"/><path d=\"m16 16 4.500 4.500\"/>",
        "truck" => {
            "<path d=\"M2.500 6h11v10h-11zM13.500 10h4l3.500 3.500V16h-7.500z\"/>\
             <circle cx=\"7\" cy=\"17.500\" r=\"1.800\"/><circle cx=\"17\" cy=\"17.500\" r=\"1.800\"/>"
        }
        "shield" => {
            "<path d=\"M12 3 5 6v5.500c0 4.500 3 7.500 7 9.500 4-2 7-5 7-9.500V6z\"/><path d=\"m9 12 2.200 2.200L15.500 10\"/>"
        }
        "lock" => {
            "<rect x=\"5\" y=\"10.500\" width=\"14\" height=\"10\" rx=\"2\"/><path d=\"M8 10.500V7.500a4 4 0 0 1 8 0v3\"/>"
        }
        "box" => {
            "<path d=\"M3.500 7.500 12 3l8.500 4.500v9L12 21l-8.500-4.500z\"/><path d=\"m3.500 7.500 8.500 4.500 8.500-4.500M12 12v9\"/>"
        }
        "check" => "<path d=\"m5 12.500 4.500 4.500L19 7.500\"/>",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icon_is_hidden_from_screen_readers_and_an_unknown_one_is_nothing() {
        assert!(icon("bag").0.contains("aria-hidden"));
        assert_eq!(icon("unheard of").0, "");
    }
}
