//! The module that `onnxc-build` made, in one line, and what this crate adds to it.

/// Includes the module of a model that `onnxc_build` compiled under this name: `include_model!(pub mod digits);`.
///
/// Beside what the module has, there are `load()`, the model for [`Session`](crate::Session) and `OwnedModel`, and
/// `Model::parallel`, which spreads the typed `run` over threads.
#[macro_export]
macro_rules! include_model {
    ($(#[$attr:meta])* $vis:vis mod $name:ident $(;)?) => {
        $(#[$attr])*
        #[allow(unsafe_code, missing_docs, dead_code, clippy::all, clippy::pedantic)]
        $vis mod $name {
            ::core::include!(::core::concat!(
                ::core::env!("OUT_DIR"),
                "/",
                ::core::stringify!($name),
                ".rs"
            ));

            /// The model for `onnxc_runtime`: its sessions, its owned models, its descriptor.
            pub fn load() -> ::core::result::Result<$crate::Model, $crate::Error> {
                let (entry, descriptor) = model();
                // SAFETY: both come from the object that this module was generated with.
                unsafe { $crate::Model::new(entry, descriptor) }
            }

            impl<'a> Model<'a> {
                /// Spreads work over threads. Results don't depend on it.
                pub fn parallel<P: $crate::Parallel>(mut self, threads: &'a P) -> Self {
                    let [function, user] = $crate::session::parallel_words(threads);
                    self.hooks[0] = function;
                    self.hooks[1] = user;
                    self
                }
            }

            impl ::core::convert::From<Error> for $crate::Error {
                fn from(e: Error) -> $crate::Error {
                    $crate::Error::Status(e.0)
                }
            }
        }
    };
}
