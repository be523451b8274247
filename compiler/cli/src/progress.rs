//! Progress of long work: on a terminal only, and gone when the work is done.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use onnxc_compiler::Progress;

use crate::ui::Ui;

/// A line that says what is being done.
pub struct Bar(ProgressBar);

impl Bar {
    /// Drawn if the terminal may be drawn on.
    pub fn new(ui: &Ui) -> Bar {
        Bar::counted(ui, None)
    }

    /// Never drawn: for parts of work that has a bar already.
    pub fn hidden() -> Bar {
        Bar(ProgressBar::hidden())
    }

    /// With a number of steps.
    pub fn counted(ui: &Ui, steps: Option<u64>) -> Bar {
        if !ui.draws_progress() {
            return Bar(ProgressBar::hidden());
        }
        let bar = match steps {
            None => ProgressBar::new_spinner(),
            Some(n) => ProgressBar::new(n),
        };
        let template = match steps {
            None => "{spinner} {msg} {elapsed}",
            Some(_) => "{bar:30} {pos}/{len} {msg} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar(bar)
    }

    /// Says what is being done.
    pub fn say(&self, text: &str) {
        self.0.set_message(text.to_string());
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Progress for Bar {
    fn stage(&mut self, name: &'static str) {
        self.say(name);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
