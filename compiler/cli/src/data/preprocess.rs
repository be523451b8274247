//! `--preprocess`: a TOML file that says how pictures and sound become tensors.
//!
//! Every key may be left out. Pictures: `value = (pixel * scale - mean[c]) / std[c]` with pixels from 0 to 255.
//!
//! ```toml
//! [image]
//! size = [224, 224]      # height, width; the model's own if absent, else the picture's
//! fit = "crop"           # stretch (default); crop: cover, then cut the middle; pad: fit inside, then fill
//! resize = 256           # with crop: the short side before cutting; the size itself if absent
//! fill = 114             # with pad: the pixel value around the picture (default 0)
//! place = "center"       # with pad: center (default) or corner (top left)
//! filter = "bilinear"    # nearest, bilinear (default), bicubic, lanczos; all but nearest average when they shrink
//! layout = "nchw"        # or nhwc; found from the model's shape if absent
//! channels = "rgb"       # bgr, gray; from the number of channels if absent
//! scale = 0.00392156862  # 1/255 for float inputs if absent, else 1
//! mean = [0.485, 0.456, 0.406]
//! std = [0.229, 0.224, 0.225]
//!
//! [audio]
//! rate = 16000           # other rates are resampled by linear interpolation; unchanged if absent
//! channel = "mix"        # mix (default), left, right
//! scale = 1.0            # samples lie in -1..1 before; 32768 gives what 16-bit files hold
//! start = 0              # samples skipped
//! length = 16000         # cut or filled with zeros; the model's own if absent
//! window = 400           # with both: rows of `window` samples, one every `hop`
//! hop = 160
//!
//! [array]                # .npy files and arrays of .npz: value = (number * scale - mean) / std
//! scale = 1.0
//! mean = 83.0
//! std = 1.71
//! ```

use std::path::Path;

use onnxc_compiler::base::diag::{Diagnostic, Result};
pub use onnxc_runtime::picture::{Channels, Filter, Fit, Layout, Place};
use serde::Deserialize;

use crate::failure::file_error;

/// The whole file.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// Pictures.
    pub image: Image,
    /// Sound.
    pub audio: Audio,
    /// Numbers.
    pub array: Option<Array>,
}

/// What becomes of numbers: `(number * scale - mean) / std`.
#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Array {
    pub scale: f64,
    pub mean: f64,
    pub std: f64,
}

impl Default for Array {
    fn default() -> Array {
        Array {
            scale: 1.0,
            mean: 0.0,
            std: 1.0,
        }
    }
}

impl Array {
    /// The value of a number.
    pub fn value(&self, v: f64) -> f64 {
        (v * self.scale - self.mean) / self.std
    }
}

/// Pictures.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Image {
    pub size: Option<[u32; 2]>,
    pub fit: Fit,
    pub resize: Option<u32>,
    pub fill: u8,
    pub place: Place,
    pub filter: Filter,
    pub layout: Option<Layout>,
    pub channels: Option<Channels>,
    pub scale: Option<f64>,
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// Which channel of a recording.
#[derive(Deserialize, Default, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Channel {
    #[default]
    Mix,
    Left,
    Right,
}

/// Sound.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Audio {
    pub rate: Option<u32>,
    pub channel: Channel,
    pub scale: Option<f64>,
    pub start: usize,
    pub length: Option<usize>,
    pub window: Option<usize>,
    pub hop: Option<usize>,
}

impl Preprocess {
    /// Reads the file, or gives the defaults where none is named.
    pub fn load(path: Option<&Path>) -> Result<Preprocess> {
        let Some(path) = path else {
            return Ok(Preprocess::default());
        };
        let text = std::fs::read_to_string(path).map_err(|e| file_error("read", path, e))?;
        let p: Preprocess = toml::from_str(&text).map_err(|e| {
            Diagnostic::usage(
                "USE001",
                format!("`{}`: {}", path.display(), e.to_string().trim_end()),
            )
        })?;
        p.check(path)?;
        Ok(p)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let i = &self.image;
        let side = |n: u32| (1..=32_768).contains(&n);
        let wrong = if i.size.is_some_and(|s| !s.into_iter().all(side)) {
            "image.size must lie between 1 and 32768"
        } else if i.resize.is_some_and(|n| !side(n)) {
            "image.resize must lie between 1 and 32768"
        } else if ![0, 1, 3].contains(&i.mean.len()) || ![0, 1, 3].contains(&i.std.len()) {
            "image.mean and image.std have one number or one for each of three channels"
        } else if i.std.iter().any(|s| *s == 0.0 || !s.is_finite()) {
            "image.std can't be 0"
        } else if self
            .array
            .is_some_and(|a| a.std == 0.0 || !a.std.is_finite())
        {
            "array.std can't be 0"
        } else if self
            .audio
            .rate
            .is_some_and(|r| !(1..=1_000_000).contains(&r))
        {
            "audio.rate must lie between 1 and 1000000"
        } else if self.audio.window == Some(0) || self.audio.hop == Some(0) {
            "audio.window and audio.hop are at least 1"
        } else if self.audio.window.is_some() != self.audio.hop.is_some() {
            "audio.window and audio.hop belong together"
        } else if self.audio.length.is_some_and(|n| n > 1 << 32) {
            "audio.length is too large"
        } else {
            return Ok(());
        };
        Err(Diagnostic::usage(
            "USE001",
            format!("`{}`: {wrong}", path.display()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_parses() {
        let doc = include_str!("preprocess.rs");
        let toml: String = doc
            .lines()
            .skip_while(|l| *l != "//! ```toml")
            .skip(1)
            .take_while(|l| *l != "//! ```")
            .map(|l| {
                l.trim_start_matches("//! ")
                    .trim_start_matches("//!")
                    .to_string()
                    + "\n"
            })
            .collect();
        let p: Preprocess = toml::from_str(&toml).unwrap();
        assert_eq!(p.image.size, Some([224, 224]));
        assert_eq!(p.image.fit, Fit::Crop);
        assert_eq!(p.audio.hop, Some(160));
        p.check(Path::new("x")).unwrap();
        assert!(toml::from_str::<Preprocess>("[image]\nsiez = 3").is_err());
    }
}
