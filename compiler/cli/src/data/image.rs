//! Pictures (PNG, JPEG) as tensors, as `--preprocess` says; see [`super::preprocess`] for the rules.

use ::image::{ImageReader, RgbImage};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_runtime::picture::{Fitting, fit, gray};
use std::io::Cursor;

use super::bad_data;
use super::preprocess::{Channels, Image, Layout};
use super::wanted::Wanted;

/// Most pixels of a picture that a model is given.
const MOST: u64 = 1 << 26;

/// Where rows, columns and channels lie in the model's input.
struct Axes {
    rank: usize,
    layout: Layout,
    channels: usize,
    height: Option<u32>,
    width: Option<u32>,
}

/// Makes the tensor for an input from the bytes of a picture.
pub fn read(name: &str, data: &[u8], how: &Image, wanted: &Wanted) -> Result<Tensor> {
    let picture = ImageReader::new(Cursor::new(data))
        .with_guessed_format()
        .map_err(|e| bad_data(format!("`{name}`"), e))?
        .decode()
        .map_err(|e| bad_data(format!("`{name}`"), e))?
        .into_rgb8();
    of_pixels(name, &picture, how, wanted)
}

/// Makes the tensor for an input from pixels.
pub fn of_pixels(name: &str, picture: &RgbImage, how: &Image, wanted: &Wanted) -> Result<Tensor> {
    let axes = axes(how, wanted)?;
    let size =
        |own: u32, model: Option<u32>, k: usize| how.size.map(|s| s[k]).or(model).unwrap_or(own);
    let (h, w) = (
        size(picture.height(), axes.height, 0),
        size(picture.width(), axes.width, 1),
    );
    if u64::from(h) * u64::from(w) > MOST {
        return Err(bad_data(
            format!("`{name}`"),
            format!("{w} x {h} is too large a picture"),
        ));
    }
    let fitting = Fitting {
        fit: how.fit,
        resize: how.resize,
        fill: how.fill,
        place: how.place,
        filter: how.filter,
    };
    let picture = fit(picture, h, w, &fitting);
    let order: &[usize] = match (axes.channels, how.channels) {
        (1, _) => &[3],
        (_, Some(Channels::Bgr)) => &[2, 1, 0],
        _ => &[0, 1, 2],
    };
    let scale = how.scale.unwrap_or(if wanted.dtype.is_float() {
        1.0 / 255.0
    } else {
        1.0
    });
    let pick = |list: &[f64], c: usize, absent: f64| match list {
        [] => absent,
        [one] => *one,
        list => list.get(c).copied().unwrap_or(absent),
    };
    let value = |pixel: u8, c: usize| {
        let v = (f64::from(pixel) * scale - pick(&how.mean, c, 0.0)) / pick(&how.std, c, 1.0);
        if wanted.dtype.is_float() {
            v
        } else {
            v.round_ties_even()
        }
    };
    // 256 values for each channel are all there can be.
    let table: Vec<Vec<f64>> = (0..order.len())
        .map(|c| (0..=255).map(|p| value(p, c)).collect())
        .collect();
    let channel = |p: &[u8; 3], c: usize| match order[c] {
        3 => gray(p),
        k => p[k],
    };
    let mut values = Vec::with_capacity(order.len() * (h * w) as usize);
    match axes.layout {
        Layout::Nchw => {
            for (c, row) in table.iter().enumerate() {
                values.extend(picture.pixels().map(|p| row[channel(&p.0, c) as usize]));
            }
        }
        Layout::Nhwc => {
            for p in picture.pixels() {
                values.extend(
                    table
                        .iter()
                        .enumerate()
                        .map(|(c, row)| row[channel(&p.0, c) as usize]),
                );
            }
        }
    }
    let (h, w, c) = (i64::from(h), i64::from(w), order.len() as i64);
    let mut shape = match (axes.rank, axes.layout) {
        (2, _) => vec![h, w],
        (_, Layout::Nchw) => vec![c, h, w],
        (_, Layout::Nhwc) => vec![h, w, c],
    };
    if axes.rank == 4 {
        shape.insert(0, 1);
    }
    Ok(Tensor::from_f64s(wanted.dtype, &shape, &values))
}

fn axes(how: &Image, wanted: &Wanted) -> Result<Axes> {
    let free = vec![None; 4];
    let shape = wanted.shape.as_ref().unwrap_or(&free);
    let rank = shape.len();
    if !(2..=4).contains(&rank) {
        return Err(bad_data(
            format!("input `{}`", wanted.name),
            format!("a picture has 2 to 4 axes, but the input has {rank}"),
        ));
    }
    let side = |d: Option<i64>| {
        d.and_then(|d| u32::try_from(d).ok())
            .filter(|d| (1..=32_768).contains(d))
    };
    if rank == 2 {
        return Ok(Axes {
            rank,
            layout: Layout::Nhwc,
            channels: 1,
            height: side(shape[0]),
            width: side(shape[1]),
        });
    }
    let inner = &shape[rank - 3..];
    // Three channels are a surer sign than one, which may as well be a side of length 1.
    let layout = match (how.layout, inner[0], inner[2]) {
        (Some(l), ..) => l,
        (None, Some(3), _) => Layout::Nchw,
        (None, _, Some(3)) => Layout::Nhwc,
        (None, Some(1), _) => Layout::Nchw,
        (None, _, Some(1)) => Layout::Nhwc,
        _ => {
            return Err(bad_data(
                format!("input `{}`", wanted.name),
                "no axis has 1 or 3 channels",
            )
            .help("say where they are: `layout = \"nchw\"` or \"nhwc\" in the --preprocess file"));
        }
    };
    let (c, h, w) = match layout {
        Layout::Nchw => (inner[0], inner[1], inner[2]),
        Layout::Nhwc => (inner[2], inner[0], inner[1]),
    };
    let channels = match (c, how.channels) {
        (Some(1), _) | (None, Some(Channels::Gray)) => 1,
        (Some(3), Some(Channels::Gray)) => {
            return Err(bad_data(
                format!("input `{}`", wanted.name),
                "it has 3 channels, not gray",
            ));
        }
        (Some(3) | None, _) => 3,
        (Some(n), _) => {
            return Err(bad_data(
                format!("input `{}`", wanted.name),
                format!("it has {n} channels; pictures have 1 or 3"),
            ));
        }
    };
    Ok(Axes {
        rank,
        layout,
        channels,
        height: side(h),
        width: side(w),
    })
}

#[cfg(test)]
mod tests {
    use super::super::preprocess::Fit;
    use super::*;
    use onnxc_compiler::base::dtype::DType;

    fn png(w: u32, h: u32, f: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
        let img = RgbImage::from_fn(w, h, |x, y| ::image::Rgb(f(x, y)));
        let mut out = Cursor::new(Vec::new());
        img.write_to(&mut out, ::image::ImageFormat::Png).unwrap();
        out.into_inner()
    }

    fn wanted(dtype: DType, shape: &[i64]) -> Wanted {
        Wanted {
            name: "x".into(),
            dtype,
            shape: Some(shape.iter().map(|d| (*d >= 0).then_some(*d)).collect()),
            divisor: false,
            places: None,
        }
    }

    #[test]
    fn layouts_and_channels() {
        let p = png(
            2,
            1,
            |x, _| if x == 0 { [255, 0, 51] } else { [10, 20, 30] },
        );
        let t = read(
            "p",
            &p,
            &Image::default(),
            &wanted(DType::U8, &[1, 1, 2, 3]),
        )
        .unwrap();
        assert_eq!(t.shape, [1, 1, 2, 3]);
        assert_eq!(t.data[..], [255, 0, 51, 10, 20, 30]);
        let bgr = Image {
            channels: Some(Channels::Bgr),
            ..Image::default()
        };
        let t = read("p", &p, &bgr, &wanted(DType::F32, &[-1, 3, -1, -1])).unwrap();
        assert_eq!(t.shape, [1, 3, 1, 2]);
        assert_eq!(t.to_f32s().unwrap()[..2], [0.2, 30.0 / 255.0]);
        // Pillow: Image.new("RGB", (1, 1), (10, 20, 30)).convert("L").getpixel((0, 0)) is 18, (255, 0, 51) gives 82.
        let t = read("p", &p, &Image::default(), &wanted(DType::U8, &[1, 2])).unwrap();
        assert_eq!(t.data[..], [82, 18]);
        assert!(read("p", b"GIF", &Image::default(), &wanted(DType::U8, &[1, 2])).is_err());
        assert!(
            read(
                "p",
                &p,
                &Image::default(),
                &wanted(DType::F32, &[1, 4, 8, 8])
            )
            .is_err()
        );
    }

    #[test]
    fn mean_and_std_and_quantized() {
        let p = png(1, 1, |_, _| [0, 128, 255]);
        let how = Image {
            mean: vec![128.0],
            ..Image::default()
        };
        let t = read("p", &p, &how, &wanted(DType::I8, &[1, 1, 1, 3])).unwrap();
        assert_eq!(t.to_i64s().unwrap(), [-128, 0, 127]);
    }

    #[test]
    fn crop_and_pad_keep_the_aspect() {
        let p = png(8, 4, |x, _| [x as u8 * 10; 3]);
        let crop = Image {
            fit: Fit::Crop,
            ..Image::default()
        };
        let t = read("p", &p, &crop, &wanted(DType::U8, &[4, 4])).unwrap();
        assert_eq!(t.data[..4], [20, 30, 40, 50]);
        let pad = Image {
            fit: Fit::Pad,
            fill: 7,
            ..Image::default()
        };
        let t = read("p", &p, &pad, &wanted(DType::U8, &[8, 8])).unwrap();
        assert_eq!(t.data[..8], [7; 8]);
        assert_eq!(t.data[16..24], [0, 10, 20, 30, 40, 50, 60, 70]);
    }
}
