//! Pictures as tensors: sizes, channels and numbers as a model wants them. The tool reads pictures by the same code, so that what it
//! measured holds in the program.

use crate::Error;
use crate::abi::reader::Port;
use alloc::vec::Vec;
use image::imageops::{self, FilterType};
use image::{ImageReader, RgbImage};
use std::io::Cursor;

/// How a picture fills the size.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Fit {
    /// Both sides scaled on their own.
    #[default]
    Stretch,
    /// Scaled to cover, the middle cut out.
    Crop,
    /// Scaled to fit inside, the rest filled.
    Pad,
}

/// Where a padded picture lies.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Place {
    /// In the middle.
    #[default]
    Center,
    /// At the top left.
    Corner,
}

/// Interpolation; all but the nearest average when they shrink.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[allow(missing_docs)]
pub enum Filter {
    Nearest,
    #[default]
    Bilinear,
    Bicubic,
    Lanczos,
}

/// Order of axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Layout {
    /// Channels before rows and columns.
    Nchw,
    /// Channels last.
    Nhwc,
}

/// Order of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[allow(missing_docs)]
pub enum Channels {
    Rgb,
    Bgr,
    Gray,
}

/// How pictures are scaled to a size.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitting {
    /// Cut, pad or stretch.
    pub fit: Fit,
    /// With [`Fit::Crop`]: the short side before cutting; the size itself if absent.
    pub resize: Option<u32>,
    /// With [`Fit::Pad`]: the value around the picture.
    pub fill: u8,
    /// With [`Fit::Pad`]: where it lies.
    pub place: Place,
    /// Interpolation.
    pub filter: Filter,
}

/// What a model's input wants of a picture: `value = (pixel * scale - mean[c]) / std[c]`, pixels from 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// Height and width in pixels.
    pub size: (u32, u32),
    /// Order of axes.
    pub layout: Layout,
    /// Order of channels.
    pub channels: Channels,
    /// How the size is reached.
    pub fitting: Fitting,
    /// What pixels are multiplied by: 1/255 unless said.
    pub scale: f64,
    /// What is subtracted then, by channel.
    pub mean: [f64; 3],
    /// What it is divided by then.
    pub std: [f64; 3],
}

impl Picture {
    /// A picture of this height and width.
    pub fn new(height: u32, width: u32, layout: Layout, channels: Channels) -> Picture {
        Picture {
            size: (height, width),
            layout,
            channels,
            fitting: Fitting::default(),
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// What an input of fixed size wants: 1 or 3 channels before or behind rows and columns.
    pub fn of(port: Port<'_>) -> Result<Picture, Error> {
        let wrong = Error::WrongShape(0);
        let sizes: Vec<i64> = port.dims().map(|d| d.size).collect();
        let fixed = port.dims().all(|d| d.symbol.is_none() && d.expr.is_empty());
        let inner = match sizes.as_slice() {
            [h, w] => [1, *h, *w],
            [.., a, b, c] if sizes.len() <= 4 => [*a, *b, *c],
            _ => return Err(wrong),
        };
        let (layout, [c, h, w]) = match inner {
            [3, h, w] => (Layout::Nchw, [3, h, w]),
            [h, w, 3] => (Layout::Nhwc, [3, h, w]),
            [1, h, w] => (Layout::Nchw, [1, h, w]),
            [h, w, 1] => (Layout::Nhwc, [1, h, w]),
            _ => return Err(wrong),
        };
        let channels = if c == 1 {
            Channels::Gray
        } else {
            Channels::Rgb
        };
        match (u32::try_from(h), u32::try_from(w)) {
            (Ok(h @ 1..=32_768), Ok(w @ 1..=32_768)) if fixed => {
                Ok(Picture::new(h, w, layout, channels))
            }
            _ => Err(wrong),
        }
    }

    /// The values of a picture in a file (PNG or JPEG).
    pub fn read(&self, file: &[u8]) -> Result<Vec<f32>, Error> {
        let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
        let picture = reader.map_err(|e| Error::Io(e.kind()))?.decode();
        Ok(self.of_pixels(&picture.map_err(|_| Error::BadPicture)?.into_rgb8()))
    }

    /// The values of pixels.
    pub fn of_pixels(&self, picture: &RgbImage) -> Vec<f32> {
        let picture = fit(picture, self.size.0, self.size.1, &self.fitting);
        let order: &[usize] = match self.channels {
            Channels::Gray => &[3],
            Channels::Bgr => &[2, 1, 0],
            Channels::Rgb => &[0, 1, 2],
        };
        let numbers = order.iter().zip(self.mean.iter().zip(&self.std));
        // Channel of the picture, mean and deviation, by channel of the tensor.
        let planes: Vec<(usize, f64, f64)> = numbers.map(|(k, (m, s))| (*k, *m, *s)).collect();
        let value = |p: &[u8; 3], (k, mean, std): (usize, f64, f64)| {
            let pixel = p.get(k).copied().unwrap_or_else(|| gray(p));
            ((f64::from(pixel) * self.scale - mean) / std) as f32
        };
        match self.layout {
            Layout::Nchw => planes
                .iter()
                .flat_map(|c| picture.pixels().map(move |p| value(&p.0, *c)))
                .collect(),
            Layout::Nhwc => picture
                .pixels()
                .flat_map(|p| planes.iter().map(move |c| value(&p.0, *c)))
                .collect(),
        }
    }
}

/// ITU-R BT.601 in 16-bit fixed point, as Pillow and OpenCV have it.
pub fn gray(p: &[u8; 3]) -> u8 {
    let [r, g, b] = p.map(u32::from);
    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
}

/// A picture at a height and width.
pub fn fit(picture: &RgbImage, h: u32, w: u32, how: &Fitting) -> RgbImage {
    let filter = match how.filter {
        Filter::Nearest => FilterType::Nearest,
        Filter::Bilinear => FilterType::Triangle,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    let (ph, pw) = (
        f64::from(picture.height().max(1)),
        f64::from(picture.width().max(1)),
    );
    let scaled = |factor: f64| {
        let side = |n: f64| ((n * factor).round() as u32).clamp(1, 1 << 15);
        imageops::resize(picture, side(pw), side(ph), filter)
    };
    let (fh, fw) = (f64::from(h) / ph, f64::from(w) / pw);
    match how.fit {
        _ if picture.dimensions() == (w, h) && how.resize.is_none() => picture.clone(),
        Fit::Stretch => imageops::resize(picture, w, h, filter),
        Fit::Crop => {
            let factor = match how.resize {
                Some(short) => f64::from(short) / ph.min(pw),
                None => fh.max(fw),
            };
            let big = scaled(factor);
            // A short side below the size leaves a border, filled as with `pad`.
            on_canvas(&big, h, w, how.fill, Place::Center)
        }
        Fit::Pad => on_canvas(&scaled(fh.min(fw)), h, w, how.fill, how.place),
    }
}

// Lays a picture on a canvas, cutting what hangs over.
fn on_canvas(picture: &RgbImage, h: u32, w: u32, fill: u8, place: Place) -> RgbImage {
    let mut canvas = RgbImage::from_pixel(w, h, image::Rgb([fill; 3]));
    let offset = |outer: u32, inner: u32| match place {
        Place::Corner => 0,
        Place::Center => (i64::from(outer) - i64::from(inner)).div_euclid(2),
    };
    imageops::replace(
        &mut canvas,
        picture,
        offset(w, picture.width()),
        offset(h, picture.height()),
    );
    canvas
}
