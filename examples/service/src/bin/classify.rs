//! Prints the digit in each picture that is named.

use digits_service::{best, digits};
use onnxc_runtime::picture::{Channels, Layout, Picture};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let picture = Picture::new(8, 8, Layout::Nchw, Channels::Gray);
    let mut arena = Box::new(digits::Arena::NEW);
    let mut model = digits::Model::new(&mut arena);
    let mut scores = [0.0; digits::OUTPUT_SCORES_LEN];
    for path in std::env::args_os().skip(1) {
        let values = picture.read(&std::fs::read(path)?)?;
        let image = values.first_chunk().ok_or("a picture of another size")?;
        model.run(image, &mut scores)?;
        println!("{}", best(&scores).digit);
    }
    Ok(())
}
