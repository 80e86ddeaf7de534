//! Authentication and authorization: who may connect, and what they may do.
//!
//! Every request that can read or change something passes one gate: WebSocket handshakes, streams
//! and the API. The gate checks, in this order:
//!
//! 1. the `Host` by which the server was addressed. Over loopback, only loopback names and those of
//!    [`HubBuilder::allow_host`](crate::HubBuilder::allow_host) are accepted. The same holds for a
//!    connection of which the server has told nothing, where IP addresses are accepted too;
//! 2. the page that the request comes from ([`Origins`]);
//! 3. the application's callback for the request's head
//!    ([`HubBuilder::on_upgrade`](crate::HubBuilder::on_upgrade));
//! 4. the user that sends the request
//!    ([`HubBuilder::authenticator`](crate::HubBuilder::authenticator)).
//!
//! A user that has passed may subscribe and publish as far as their [`Grants`] and the hub's
//! callbacks allow.
//!
//! | authenticator | identifies users by |
//! |---|---|
//! | [`ApiKeys`] | a key in `X-API-Key` or as a bearer token |
//! | [`TokenTable`] | the tokens of a token file, each with its rights |
//! | `Jwt` (feature `jwt`) | a signed token |
//! | [`Bearer`] | a token that a function checks |
//! | [`from_fn`] | anything that a function finds in the request |
//! | [`query_only`](Authenticator::query_only) | another authenticator, by the query alone |
//! | [`any_of`] | the first of several authenticators that accepts |
//!
//! An application that has identified the user itself, in a layer of its own, adds the [`Identity`]
//! to the request's extensions. It takes the place of the authenticator.
//!
//! A panic in an authenticator or a callback denies the request, and is logged. Tokens and keys
//! appear in no log, no `Debug` output and no error.

mod api_keys;
mod auth_cause;
mod authenticator;
mod bearer;
mod connect_info;
mod credentials;
mod expiry;
mod forwarded;
mod gate;
mod hosts;
mod identity;
#[cfg(feature = "jwt")]
mod jwt;
mod origin;
mod origins;
mod pattern;
mod peer;
mod query_only;
mod secret;
mod subprotocol;
mod tokens;

pub use api_keys::ApiKeys;
pub use auth_cause::AuthCause;
pub use authenticator::{AuthError, AuthFuture, Authenticator, Reloadable, any_of, from_fn};
pub use bearer::Bearer;
pub use credentials::Credentials;
pub use forwarded::{NetworkError, TrustedProxies};
pub use gate::Admission;
pub use identity::Identity;
#[cfg(feature = "jwt")]
pub use jwt::{Jwt, JwtKeyError};
pub use origins::{OriginError, Origins};
pub use pattern::{Grants, Pattern, PatternError, PublishTarget};
pub use peer::{LocalAddress, PeerAddress};
pub use query_only::QueryOnly;
pub use tokens::{TokenFault, TokenFileError, TokenTable};

pub(crate) use expiry::expired;
pub(crate) use gate::{Denial, Gate};
pub(crate) use hosts::Hosts;
pub(crate) use identity::PeerInfo;
