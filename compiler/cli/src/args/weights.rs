//! `--weights`.

use std::path::PathBuf;

/// Where weights go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Weights {
    /// Into the object's read-only data.
    Embed,
    /// Into a section of the object.
    Section(String),
    /// Into a file beside the object.
    File(Option<PathBuf>),
}

pub(super) fn parse_weights(text: &str) -> Result<Weights, String> {
    match text.split_once('=') {
        None if text == "embed" => Ok(Weights::Embed),
        None if text == "file" => Ok(Weights::File(None)),
        Some(("section", name)) if !name.is_empty() => Ok(Weights::Section(name.to_string())),
        Some(("file", path)) if !path.is_empty() => Ok(Weights::File(Some(path.into()))),
        _ => Err("expected embed, section=NAME, file or file=PATH".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(
            parse_weights("section=.flash").unwrap(),
            Weights::Section(".flash".into())
        );
        assert!(parse_weights("nowhere").is_err());
    }
}
