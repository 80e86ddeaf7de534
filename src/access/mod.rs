//! Who may come in, and what they may do.
//!
//! Every request that can see or change something passes one gate: the WebSocket handshake, the streams, the API. It asks in this order:
//! by which name the server was addressed (a loopback listener answers to loopback names), from which page the request comes
//! ([`Origins`]), what the application says to its head ([`HubBuilder::on_upgrade`](crate::HubBuilder::on_upgrade)), and who sends it
//! ([`HubBuilder::authenticator`](crate::HubBuilder::authenticator)). Who has passed may subscribe and publish as far as their [`Grants`] and the
//! hub's callbacks allow.
//!
//! | authenticator | knows users by |
//! |---|---|
//! | [`ApiKeys`] | a key in `X-API-Key` |
//! | [`TokenTable`] | the tokens of a token file, each with its rights |
//! | `Jwt` (feature `jwt`) | a signed token |
//! | [`Bearer`] | a token, judged by a function |
//! | [`from_fn`] | whatever a function finds in the request |
//! | [`any_of`] | any of several |
//!
//! Panics in an authenticator or a callback deny, and are logged. Tokens and keys appear in no log, no `Debug` and no error.

mod api_keys;
mod authenticator;
mod bearer;
mod credentials;
mod expiry;
mod gate;
mod identity;
#[cfg(feature = "jwt")]
mod jwt;
mod origin;
mod pattern;
mod peer;
mod secret;
mod tokens;

pub use api_keys::ApiKeys;
pub use authenticator::{AuthError, AuthFuture, Authenticator, Reloadable, any_of, from_fn};
pub use bearer::Bearer;
pub use credentials::Credentials;
pub use gate::Admission;
pub use identity::Identity;
#[cfg(feature = "jwt")]
pub use jwt::{Jwt, JwtKeyError};
pub use origin::{OriginError, Origins};
pub use pattern::{Grants, Pattern, PatternError, PublishTarget};
pub use peer::{LocalAddress, PeerAddress};
pub use tokens::{TokenFault, TokenFileError, TokenTable};

pub(crate) use expiry::expired;
pub(crate) use gate::{Denial, Gate};
pub(crate) use identity::PeerInfo;
pub(crate) use origin::Hosts;
