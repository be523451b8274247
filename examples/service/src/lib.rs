//! Reads handwritten digits: the model is part of the program.

use onnxc_runtime::picture::Picture;
use onnxc_runtime::{Error, Input, OwnedModel};

onnxc_runtime::include_model!(pub mod digits);

/// A model, and how pictures become its input. One for each thread.
pub struct Classifier {
    model: OwnedModel,
    picture: Picture,
}

/// What a picture shows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Answer {
    /// 0 to 9.
    pub digit: usize,
    /// The model's score for it: the larger, the surer.
    pub score: f32,
}

impl Classifier {
    /// Allocates what a run needs. Runs allocate no large memory any more.
    pub fn new() -> Result<Classifier, Error> {
        let model = OwnedModel::new(digits::load()?)?;
        let input = model.model().descriptor().input(0);
        let picture = Picture::of(input.ok_or(Error::NoSuchPort(0))?)?;
        Ok(Classifier { model, picture })
    }

    /// The digit in a PNG or JPEG of any size.
    pub fn classify(&mut self, file: &[u8]) -> Result<Answer, Error> {
        let image = self.picture.read(file)?;
        let outputs = self.model.run(&[Input::from(&image)])?;
        Ok(best(outputs.get(0)?))
    }
}

/// The largest score.
pub fn best(scores: &[f32]) -> Answer {
    let none = Answer {
        digit: 0,
        score: f32::NEG_INFINITY,
    };
    scores
        .iter()
        .enumerate()
        .fold(none, |a, (digit, score)| match *score > a.score {
            true => Answer {
                digit,
                score: *score,
            },
            false => a,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_runtime::picture::{Channels, Layout};

    fn file(digit: usize) -> Vec<u8> {
        let root = env!("CARGO_MANIFEST_DIR");
        std::fs::read(format!("{root}/../digits/pictures/{digit}.png")).unwrap()
    }

    #[test]
    fn every_way_gives_the_same_answer() {
        let mut classifier = Classifier::new().unwrap();
        let mut arena = Box::new(digits::Arena::NEW);
        let mut owned = OwnedModel::new(digits::load().unwrap()).unwrap();
        let pool = std::sync::Arc::new(onnxc_runtime::Pool::new(2).unwrap());
        for digit in 0..10 {
            let answer = classifier.classify(&file(digit)).unwrap();
            assert_eq!(answer.digit, digit);
            let picture = Picture::new(8, 8, Layout::Nchw, Channels::Gray);
            let values = picture.read(&file(digit)).unwrap();
            // Typed, over memory of the caller, with threads.
            let mut scores = [0.0; digits::OUTPUT_SCORES_LEN];
            let image = values.first_chunk().unwrap();
            let mut model = digits::Model::new(&mut arena).parallel(&pool);
            model.run(image, &mut scores).unwrap();
            assert_eq!(best(&scores), answer);
            // Arrays.
            let array = ndarray::Array::from_shape_vec((1, 1, 8, 8), values).unwrap();
            let outputs = owned.run(&[Input::array(&array).unwrap()]).unwrap();
            assert_eq!(outputs.shape(0).unwrap(), [1, 10]);
            assert_eq!(outputs.array::<f32>(0).unwrap().as_slice().unwrap(), scores);
            assert_eq!(outputs.array::<f32>(0).unwrap().shape(), [1, 10]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut classifier = Classifier::new().unwrap();
        assert_eq!(classifier.classify(b"no picture"), Err(Error::BadPicture));
        let mut owned = OwnedModel::new(digits::load().unwrap()).unwrap();
        let error = |input: Input| owned_error(&mut owned, &[input]);
        fn owned_error(owned: &mut OwnedModel, inputs: &[Input]) -> Error {
            owned.run(inputs).err().expect("an error")
        }
        let mut error = error;
        assert_eq!(error(Input::from(&[0u8; 64])), Error::WrongType(0));
        assert_eq!(error(Input::from(&[0f32; 63])), Error::TooSmall(0));
        let flat = ndarray::Array::<f32, _>::zeros((8, 8));
        assert_eq!(error(Input::array(&flat).unwrap()), Error::WrongShape(0));
        let turned = ndarray::Array::<f32, _>::zeros((1, 1, 8, 4));
        let turned = turned.reversed_axes();
        assert_eq!(Input::array(&turned).err(), Some(Error::NotContiguous));
        assert_eq!(
            owned_error(&mut owned, &[]),
            Error::Status(onnxc_runtime::abi::status::BAD_COUNT)
        );
        let good = [0f32; 64];
        let outputs = owned.run(&[Input::from(&good)]).unwrap();
        assert_eq!(outputs.get::<u8>(0).err(), Some(Error::WrongType(0)));
        assert_eq!(outputs.get::<f32>(1).err(), Some(Error::NoSuchPort(1)));
        let mut small = vec![0u8; digits::ARENA_SIZE - 1];
        let status = digits::Model::over(&mut small).err().expect("an error").0;
        assert_eq!(status, onnxc_runtime::abi::status::ARENA_TOO_SMALL);
    }
}
