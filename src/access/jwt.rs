//! Signed tokens (RFC 7519).

use std::fmt;
use std::future::ready;
use std::time::{Duration, SystemTime};

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::{AuthError, AuthFuture, Authenticator, Credentials, Grants, Identity};

/// The shortest secret for HS256: as long as its hash (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Clocks differ.
const LEEWAY: Duration = Duration::from_secs(5);

/// Lets in whoever shows a JSON Web Token with a valid signature, as `Authorization: Bearer …` or `?token=…`.
///
/// The kind of the key says which algorithm a token has to have, and nothing in the token does: a secret HS256, an RSA key RS256, an
/// Ed25519 key EdDSA, a P-256 key ES256. A token has to have a `sub`, which becomes the user, and an `exp`, after which it is refused and its
/// connections are closed with 1008; `nbf` is obeyed, with 5 s for clocks that differ. A token with an `aud` is refused unless
/// [`Jwt::audience`] says it is meant. The other claims are those of the [`Identity`].
///
/// The checking is done by ring, as that of TLS. The first `Jwt` makes it the process's `jsonwebtoken::crypto::CryptoProvider`, which signs nothing: a
/// program that also uses `jsonwebtoken` itself installs its own before.
///
/// ```
/// use outrace::access::Jwt;
///
/// let jwt = Jwt::from_secret(b"at least thirty-two random bytes")?.issuer("https://id.example.org");
/// let hub = outrace::Hub::builder().authenticator(jwt).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Jwt {
    key: DecodingKey,
    validation: Validation,
    grants: bool,
}

/// A key that cannot check tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// A secret that is too short to be one.
    #[error("a secret for HS256 has at least {MIN_SECRET_BYTES} bytes, and this has {0}")]
    Short(usize),
    /// A private key: what checks tokens needs none, and should not have it.
    #[error("it is a private key; tokens are checked with the public one")]
    Private,
    /// Nothing of this kind.
    #[error("it is no public key in PEM: RSA of at least 2048 bits, Ed25519 or P-256 are known")]
    Unknown,
}

impl Jwt {
    /// HS256: whoever has the secret can also make tokens. At least 32 bytes.
    ///
    /// # Errors
    /// It is shorter.
    pub fn from_secret(secret: &[u8]) -> Result<Self, JwtKeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(JwtKeyError::Short(secret.len()));
        }
        Ok(Self::new(
            DecodingKey::from_secret(secret),
            Algorithm::HS256,
        ))
    }

    /// RS256, EdDSA or ES256, by the kind of this public key in PEM.
    ///
    /// # Errors
    /// It is another kind of key, a private one, or none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, JwtKeyError> {
        if String::from_utf8_lossy(pem).contains("PRIVATE KEY-----") {
            return Err(JwtKeyError::Private);
        }
        [Algorithm::RS256, Algorithm::EdDSA, Algorithm::ES256]
            .into_iter()
            .find_map(|algorithm| {
                let key = match algorithm {
                    Algorithm::RS256 => DecodingKey::from_rsa_pem(pem),
                    Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
                    _ => DecodingKey::from_ec_pem(pem),
                };
                Some(Self::new(key.ok()?, algorithm))
            })
            .filter(Self::is_usable)
            .ok_or(JwtKeyError::Unknown)
    }

    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        // One that the application installed before stays, and is as good.
        let _ = RING.install_default();
        let mut validation = Validation::new(algorithm);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.as_secs();
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            key,
            validation,
            grants: false,
        }
    }

    /// Whether the key has a size that its algorithm allows.
    fn is_usable(&self) -> bool {
        let bytes = self.key.try_get_as_bytes().map_or(0, <[u8]>::len);
        match self.validation.algorithms[..] {
            // The modulus and a little more.
            [Algorithm::RS256] => bytes >= 2048 / 8,
            [Algorithm::EdDSA] => bytes == 32,
            [Algorithm::ES256] => bytes == 65,
            _ => true,
        }
    }

    /// Only tokens that name this in `aud`; said again, this or that.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.validation
            .aud
            .get_or_insert_default()
            .insert(audience.into());
        self.validation
            .required_spec_claims
            .insert("aud".to_owned());
        self
    }

    /// Only tokens that name this in `iss`; said again, this or that.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.validation
            .iss
            .get_or_insert_default()
            .insert(issuer.into());
        self.validation
            .required_spec_claims
            .insert("iss".to_owned());
        self
    }

    /// Limits each user to the channels in their token's claims `subscribe`, `publish` and `control`, arrays of [patterns](super::Pattern) that
    /// mean what they mean in a [token file](super::TokenTable). A token in which they are anything else is refused.
    #[must_use]
    pub fn grants_from_claims(mut self) -> Self {
        self.grants = true;
        self
    }

    /// Whose a token is.
    fn check(&self, token: &str) -> Result<Identity, AuthError> {
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation);
        let mut claims = token.map_err(|error| refusal(&error))?.claims;
        let Some(Value::String(user)) = claims.remove("sub") else {
            return Err(AuthError::Invalid);
        };
        let grants = if self.grants {
            Some(grants(&claims)?)
        } else {
            None
        };
        let expires = claims
            .get("exp")
            .and_then(Value::as_f64)
            .ok_or(AuthError::Invalid)?;
        let expires = Duration::try_from_secs_f64(expires).ok();
        let expires = expires.and_then(|since| {
            SystemTime::UNIX_EPOCH
                .checked_add(since)?
                .checked_add(LEEWAY)
        });
        let mut identity = Identity::new(user).with_claims(claims);
        if let Some(grants) = grants {
            identity = identity.with_grants(grants);
        }
        // A moment beyond all clocks is never.
        if let Some(expires) = expires {
            identity = identity.expires_at(expires);
        }
        Ok(identity)
    }
}

impl Authenticator for Jwt {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(ready(match shown.token() {
            Some(token) => self.check(&token),
            None => Err(AuthError::Missing),
        }))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}

fn refusal(error: &Error) -> AuthError {
    match error.kind() {
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYetValid,
        _ => AuthError::Invalid,
    }
}

fn grants(claims: &Map<String, Value>) -> Result<Grants, AuthError> {
    let list = |name| match claims.get(name) {
        None => Ok(None),
        Some(Value::Array(patterns)) => patterns
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .map(Some)
            .ok_or(AuthError::Invalid),
        Some(_) => Err(AuthError::Invalid),
    };
    let mut grants = Grants::default();
    if let Some(patterns) = list("subscribe")? {
        grants = grants.subscribe(patterns).map_err(|_| AuthError::Invalid)?;
    }
    if let Some(patterns) = list("publish")? {
        grants = grants.publish(patterns).map_err(|_| AuthError::Invalid)?;
    }
    if let Some(patterns) = list("control")? {
        grants = grants.control(patterns).map_err(|_| AuthError::Invalid)?;
    }
    Ok(grants)
}

/// Checks by ring, which TLS uses too: one cryptography in the program, not two.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(RingVerifier {
            algorithm: *algorithm,
            key: key.try_get_as_bytes()?.to_vec(),
        }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct RingVerifier {
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        use ring::signature as public;
        let algorithm: &dyn public::VerificationAlgorithm = match self.algorithm {
            Algorithm::HS256 => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.key);
                return ring::hmac::verify(&key, message, signature)
                    .map_err(|_| signature::Error::new());
            }
            Algorithm::RS256 => &public::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::EdDSA => &public::ED25519,
            Algorithm::ES256 => &public::ECDSA_P256_SHA256_FIXED,
            _ => return Err(signature::Error::new()),
        };
        public::UnparsedPublicKey::new(algorithm, &self.key)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
