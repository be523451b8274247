//! What layers read, channel by channel: how strong each channel is.

use super::layer::Layer;

/// Means and mean squares of the input channels of a layer.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    sums: Vec<f64>,
    squares: Vec<f64>,
    each: u64,
}

impl Seen {
    /// Takes one case: the layer's whole input and its shape. What does not fit is passed over; `false`: a number was not finite.
    pub fn take(&mut self, layer: &Layer, x: &[f32], shape: &[i64]) -> bool {
        let channels = layer.channels();
        let axis = match layer.op {
            "Conv" | "ConvTranspose" => 1,
            _ => shape.len().saturating_sub(1),
        };
        if shape.get(axis) != Some(&(channels as i64)) || x.is_empty() {
            return true;
        }
        let inner = shape[axis + 1..].iter().product::<i64>().max(1) as usize;
        self.sums.resize(channels, 0.0);
        self.squares.resize(channels, 0.0);
        for (at, run) in x.chunks_exact(inner).enumerate() {
            let (mut sum, mut square) = (0.0f64, 0.0f64);
            for v in run {
                let v = f64::from(*v);
                sum += v;
                square += v * v;
            }
            if !square.is_finite() {
                return false;
            }
            self.sums[at % channels] += sum;
            self.squares[at % channels] += square;
        }
        self.each += (x.len() / channels.max(1)) as u64;
        true
    }
    /// Whether anything was taken.
    pub fn is_empty(&self) -> bool {
        self.each == 0
    }
    /// The mean square of each channel; `centred`: less that of its mean, which a bias can take up.
    pub fn powers(&self, centred: bool) -> Vec<f64> {
        let n = self.each.max(1) as f64;
        let one = |(s, q): (&f64, &f64)| {
            let mean = s / n;
            let all = q / n;
            match centred {
                true => (all - mean * mean).max(0.0),
                false => all,
            }
        };
        self.sums.iter().zip(&self.squares).map(one).collect()
    }
}
