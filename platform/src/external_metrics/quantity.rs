//! Numbers as Kubernetes writes them.

/// The suffixes of whole numbers; each stands for a thousand of the one before.
const SUFFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
/// The most thousandths that are told (2^51): soon after, a `f64` no longer tells neighbours apart.
const THOUSANDTHS_MAX: f64 = 2_251_799_813_685_248.0;

/// `value` as a `Quantity` in its canonical form: without a fraction, and with the largest suffix that allows that:
/// `1500m`, `3`, `2k`. What is finer than a thousandth is rounded away. None for what Kubernetes could not read or we
/// could not tell exactly: no number, infinite, or beyond two trillions.
pub(super) fn quantity(value: f64) -> Option<String> {
    let thousandths = (value * 1000.0).round();
    if thousandths.is_nan() || thousandths.abs() > THOUSANDTHS_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and smaller than 2^51")]
    let thousandths = thousandths as i64;
    if thousandths % 1000 != 0 {
        return Some(format!("{thousandths}m"));
    }
    let mut whole = thousandths / 1000;
    let mut suffix = 0;
    while whole != 0 && whole % 1000 == 0 {
        whole /= 1000;
        suffix += 1;
    }
    Some(format!("{whole}{}", SUFFIXES[suffix]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Kubernetes understands by `text`, in thousandths, after the grammar in `resource.Quantity`:
    /// `<number><m, k, M, …>`.
    fn understood(text: &str) -> i128 {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let number: i128 = digits.parse().expect("a whole number");
        let scale = match &text[digits.len()..] {
            "m" => 0,
            "" => 1,
            "k" => 2,
            "M" => 3,
            "G" => 4,
            "T" => 5,
            "P" => 6,
            "E" => 7,
            other => panic!("`{other}` is no decimal suffix"),
        };
        number * 1000_i128.pow(scale)
    }

    #[test]
    fn numbers_are_written_as_kubernetes_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.0004, "0"),
            (0.001, "1m"),
            (1.1, "1100m"),
            (1.5, "1500m"),
            (2.0, "2"),
            (999.999, "999999m"),
            (1000.0, "1k"),
            (1024.0, "1024"),
            (1500.0, "1500"),
            (2_000_000.0, "2M"),
            (-3.25, "-3250m"),
        ] {
            assert_eq!(quantity(value).as_deref(), Some(text), "{value}");
        }
        for no_number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e16] {
            assert_eq!(quantity(no_number), None, "{no_number}");
        }
    }

    proptest! {
        #[test]
        fn what_kubernetes_reads_is_what_was_meant(thousandths in -2_251_799_813_685_248_i64..=2_251_799_813_685_248) {
            #[expect(clippy::cast_precision_loss, reason = "it is smaller than 2^51")]
            let text = quantity(thousandths as f64 / 1000.0).expect("a quantity");
            prop_assert_eq!(understood(&text), i128::from(thousandths), "{}", text);
        }

        #[test]
        fn no_smaller_number_and_no_larger_suffix_would_do(whole in 1_i64..1_000_000, power in 0_u32..3) {
            let value = whole * 1000_i64.pow(power);
            #[expect(clippy::cast_precision_loss, reason = "it is smaller than 2^51")]
            let text = quantity(value as f64).expect("a quantity");
            let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
            prop_assert!(!digits.ends_with("000"), "{}", text);
        }
    }
}
