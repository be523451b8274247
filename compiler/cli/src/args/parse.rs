//! Values of flags read from their text, where that needs nothing else. An error is a line for a person.

use onnxc_compiler::onnx::DimSpec;

pub(super) fn parse_dim(text: &str) -> Result<(String, DimSpec), String> {
    let form = "expected NAME=N or NAME=LO..HI";
    let (name, value) = text.rsplit_once('=').ok_or(form)?;
    if name.is_empty() {
        return Err(form.into());
    }
    let number = |t: &str| {
        t.trim()
            .parse::<i64>()
            .ok()
            .filter(|n| *n >= 0)
            .ok_or_else(|| format!("`{t}` is no size"))
    };
    let spec = match value.split_once("..") {
        None => DimSpec::Fixed(number(value)?),
        Some((lo, hi)) => {
            let (lo, hi) = (number(lo)?, number(hi.trim_start_matches('='))?);
            if lo > hi {
                return Err(format!("{lo} is larger than {hi}"));
            }
            DimSpec::Range(lo, hi)
        }
    };
    Ok((name.to_string(), spec))
}

pub(super) fn parse_const(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .rsplit_once('=')
        .filter(|(n, _)| !n.is_empty())
        .ok_or("expected NAME=VALUE")?;
    Ok((name.to_string(), value.to_string()))
}

pub(super) fn parse_shape(text: &str) -> Result<(String, Vec<i64>), String> {
    let (name, sizes) = text
        .rsplit_once(':')
        .filter(|(n, _)| !n.is_empty())
        .ok_or("expected NAME:1,3,224,224")?;
    if sizes.trim().is_empty() {
        return Ok((name.to_string(), vec![]));
    }
    let shape = sizes.split([',', 'x']).map(|s| {
        s.trim()
            .parse::<i64>()
            .ok()
            .filter(|n| *n >= -1)
            .ok_or_else(|| format!("`{s}` is no size"))
    });
    Ok((name.to_string(), shape.collect::<Result<_, _>>()?))
}

/// A number of bytes: K, M, G and T are powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1u64 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        u => return Err(format!("`{u}` is no unit; K, M, G and T are")),
    };
    let n: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no size, like 512M"))?;
    n.checked_mul(unit).ok_or("too large".to_string())
}

pub(super) fn parse_tolerance(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|v| v.is_finite() && *v >= 0.0)
        .ok_or_else(|| "expected a number of at least 0".to_string())
}

pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|v| *v > 0.0 && *v <= 1e6)
        .ok_or_else(|| "expected a number of seconds above 0".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(parse_dim("N=4").unwrap(), ("N".into(), DimSpec::Fixed(4)));
        assert_eq!(
            parse_dim("a=b=1..8").unwrap(),
            ("a=b".into(), DimSpec::Range(1, 8))
        );
        assert!(parse_dim("N=8..1").is_err());
        assert_eq!(
            parse_shape("in:0:1,-1,224").unwrap(),
            ("in:0".into(), vec![1, -1, 224])
        );
        assert_eq!(parse_shape("sr:").unwrap(), ("sr".into(), vec![]));
        assert_eq!(parse_size("512M").unwrap(), 512 << 20);
        assert!(parse_size("99999999999T").is_err());
    }
}
