//! Sound (`.wav`) as tensors, as `--preprocess` says; see [`super::preprocess`] for the rules.

use hound::{SampleFormat, WavReader};
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::tensor::Tensor;

use super::bad_data;
use super::preprocess::{Audio, Channel};
use super::wanted::Wanted;

/// Most samples that a model is given.
const MOST: usize = 1 << 28;

/// Makes the tensor for an input from the bytes of a recording.
pub fn read(name: &str, data: &[u8], how: &Audio, wanted: &Wanted) -> Result<Tensor> {
    let broken = |e: hound::Error| bad_data(format!("`{name}`"), e);
    let reader = WavReader::new(data).map_err(broken)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels.max(1));
    let samples: Vec<f64> = match spec.sample_format {
        SampleFormat::Float => reader
            .into_samples::<f32>()
            .map(|s| s.map(f64::from))
            .collect::<std::result::Result<_, _>>(),
        SampleFormat::Int => {
            let full = (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f64;
            reader
                .into_samples::<i32>()
                .map(|s| s.map(|s| f64::from(s) / full))
                .collect()
        }
    }
    .map_err(broken)?;
    let mono: Vec<f64> = samples
        .chunks_exact(channels)
        .map(|frame| match how.channel {
            Channel::Mix => frame.iter().sum::<f64>() / channels as f64,
            Channel::Left => frame[0],
            Channel::Right => frame[channels.min(2) - 1],
        })
        .collect();
    let mut wave = match how.rate {
        Some(rate) if rate != spec.sample_rate => resample(&mono, spec.sample_rate, rate),
        _ => mono,
    };
    wave.drain(..how.start.min(wave.len()));
    let (dtype, scale) = (wanted.dtype, how.scale.unwrap_or(1.0));
    for v in &mut wave {
        *v *= scale;
        if !dtype.is_float() {
            *v = v.round_ties_even();
        }
    }
    let rank = wanted.shape.as_ref().map(Vec::len);
    let last = |k: usize| {
        wanted
            .shape
            .as_ref()
            .and_then(|s| *s.get(s.len().checked_sub(k)?)?)
    };
    let shape = if let (Some(window), Some(hop)) = (how.window, how.hop) {
        let rows = match how.length.map(|n| n as i64).or(last(2)) {
            Some(n) => usize::try_from(n).unwrap_or(0),
            None => wave.len().checked_sub(window).map_or(0, |n| n / hop + 1),
        };
        let total = rows.checked_mul(window).filter(|n| *n <= MOST);
        total.ok_or_else(|| bad_data(format!("`{name}`"), "too many windows"))?;
        let at = |r: usize, c: usize| {
            wave.get(r.saturating_mul(hop).saturating_add(c))
                .copied()
                .unwrap_or(0.0)
        };
        wave = (0..rows)
            .flat_map(|r| (0..window).map(move |c| (r, c)))
            .map(|(r, c)| at(r, c))
            .collect();
        vec![rows as i64, window as i64]
    } else {
        let length = how
            .length
            .or(last(1).and_then(|n| usize::try_from(n).ok()))
            .unwrap_or(wave.len());
        if length > MOST {
            return Err(bad_data(format!("input `{}`", wanted.name), "too long"));
        }
        wave.resize(length, 0.0);
        vec![length as i64]
    };
    let lead = rank.unwrap_or(2).max(shape.len()) - shape.len();
    let shape: Vec<i64> = std::iter::repeat_n(1, lead).chain(shape).collect();
    Ok(Tensor::from_f64s(dtype, &shape, &wave))
}

/// Linear interpolation between neighbouring samples.
fn resample(wave: &[f64], from: u32, to: u32) -> Vec<f64> {
    let (from, to) = (u64::from(from.max(1)), u64::from(to));
    let count = wave.len() as u64 * to / from;
    (0..count)
        .map(|i| {
            // Exact in integers, so that the place never drifts.
            let (whole, rest) = (i * from / to, (i * from % to) as f64 / to as f64);
            let a = wave[whole as usize];
            let b = wave.get(whole as usize + 1).copied().unwrap_or(a);
            a + (b - a) * rest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_compiler::base::dtype::DType;
    use std::io::Cursor;

    fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut out = Cursor::new(Vec::new());
        let mut w = hound::WavWriter::new(&mut out, spec).unwrap();
        samples.iter().for_each(|s| w.write_sample(*s).unwrap());
        w.finalize().unwrap();
        out.into_inner()
    }

    fn wanted(shape: &[Option<i64>]) -> Wanted {
        Wanted {
            name: "x".into(),
            dtype: DType::F32,
            shape: Some(shape.to_vec()),
            divisor: false,
            places: None,
        }
    }

    #[test]
    fn mixes_and_fills() {
        let f = wav(8000, 2, &[16384, -16384, 16384, 0]);
        let t = read("f", &f, &Audio::default(), &wanted(&[None, Some(3)])).unwrap();
        assert_eq!(t.shape, [1, 3]);
        assert_eq!(t.to_f32s().unwrap(), [0.0, 0.25, 0.0]);
        assert!(read("f", b"RIFF", &Audio::default(), &wanted(&[None])).is_err());
    }

    #[test]
    fn resamples_and_frames() {
        let f = wav(8000, 1, &[0, 8192, 16384, 8192]);
        let how = Audio {
            rate: Some(16000),
            ..Audio::default()
        };
        let t = read("f", &f, &how, &wanted(&[None])).unwrap();
        assert_eq!(
            t.to_f32s().unwrap(),
            [0., 0.125, 0.25, 0.375, 0.5, 0.375, 0.25, 0.25]
        );
        let how = Audio {
            window: Some(2),
            hop: Some(1),
            scale: Some(4.0),
            ..Audio::default()
        };
        let t = read("f", &f, &how, &wanted(&[None, None, None])).unwrap();
        assert_eq!(t.shape, [1, 3, 2]);
        assert_eq!(t.to_f32s().unwrap(), [0., 1., 1., 2., 2., 1.]);
    }
}
