//! JSON Web Tokens (RFC 7519).

use std::fmt;
use std::future::ready;
use std::time::{Duration, SystemTime};

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::{AuthError, AuthFuture, Authenticator, Credentials, Grants, Identity};

/// The minimum length of a secret for HS256: the length of its hash (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// The tolerated difference between the clocks of the issuer and the server.
const LEEWAY: Duration = Duration::from_secs(5);

/// Identifies users by a JSON Web Token with a valid signature, in `Authorization: Bearer …` or
/// `?token=…`.
///
/// The type of the key determines the algorithm. The header of the token does not (RFC 8725,
/// section 3.1):
///
/// | key | algorithm |
/// |---|---|
/// | a secret | HS256 |
/// | RSA | RS256 |
/// | Ed25519 | EdDSA |
/// | P-256 | ES256 |
///
/// The claims are checked as follows, with a tolerance of 5 s for the clocks:
///
/// - `sub` is required, and becomes the user's name.
/// - `exp` is required. An expired token is refused, and a connection is closed with code 1008 when
///   its token expires.
/// - `nbf` is checked if present.
/// - A token with an `aud` is refused unless [`Jwt::audience`] names that audience.
/// - `iss` is checked if [`Jwt::issuer`] is set.
///
/// All claims but `sub` become the claims of the [`Identity`].
///
/// Signatures are verified by ring, as for TLS. The first `Jwt` installs a
/// `jsonwebtoken::crypto::CryptoProvider` for the process, which cannot sign. A program that uses
/// `jsonwebtoken` itself has to install its own provider first.
///
/// ```
/// use outrace::access::Jwt;
///
/// let jwt = Jwt::from_secret(b"at least thirty-two random bytes")?
///     .issuer("https://id.example.org");
/// let hub = outrace::Hub::builder().authenticator(jwt).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Jwt {
    key: DecodingKey,
    validation: Validation,
    grants: bool,
}

/// An error in a key for verifying tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// The secret is too short. The field is its length in bytes.
    #[error("a secret for HS256 needs at least {MIN_SECRET_BYTES} bytes; this one has {0}")]
    Short(usize),
    /// The key is private. The verifier needs only the public key, and should not have the other.
    #[error("this is a private key; tokens are verified with the public key")]
    Private,
    /// The key is not of a supported type.
    #[error(
        "this is not a supported public key; \
         RSA of at least 2048 bits, Ed25519 and P-256 in PEM are supported"
    )]
    Unknown,
}

impl Jwt {
    /// Verifies tokens of HS256 with a secret of at least 32 bytes. Anyone with the secret can also
    /// issue tokens.
    ///
    /// # Errors
    /// Returns [`JwtKeyError::Short`] for a shorter secret.
    pub fn from_secret(secret: &[u8]) -> Result<Self, JwtKeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(JwtKeyError::Short(secret.len()));
        }
        Ok(Self::new(
            DecodingKey::from_secret(secret),
            Algorithm::HS256,
        ))
    }

    /// Verifies tokens of RS256, EdDSA or ES256 with a public key in PEM, depending on its type.
    ///
    /// # Errors
    /// Returns [`JwtKeyError::Private`] for a private key, and [`JwtKeyError::Unknown`] for an
    /// unsupported one.
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
        // Fails if the application has already installed a provider, which then verifies.
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

    /// Whether the algorithm allows the key's size.
    fn is_usable(&self) -> bool {
        let bytes = self.key.try_get_as_bytes().map_or(0, <[u8]>::len);
        match self.validation.algorithms[..] {
            // The encoded key has the modulus and a few more bytes.
            [Algorithm::RS256] => bytes >= 2048 / 8,
            [Algorithm::EdDSA] => bytes == 32,
            [Algorithm::ES256] => bytes == 65,
            _ => true,
        }
    }

    /// Requires this audience in `aud`. Several calls require any one of the audiences.
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

    /// Requires this issuer in `iss`. Several calls require any one of the issuers.
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

    /// Limits each user to the channels in the claims `subscribe`, `publish` and `control` of their
    /// token.
    ///
    /// The claims are arrays of [patterns](super::Pattern), with the same meaning and the same
    /// defaults as in a [token file](super::TokenTable). A token whose claim is anything else is
    /// refused.
    #[must_use]
    pub fn grants_from_claims(mut self) -> Self {
        self.grants = true;
        self
    }

    /// Verifies a token, and returns the identity of its user.
    fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation);
        let mut claims = token.map_err(|error| auth_error(&error))?.claims;
        let Some(Value::String(user)) = claims.remove("sub") else {
            return Err(AuthError::Invalid);
        };
        let grants = if self.grants {
            Some(grants(&claims)?)
        } else {
            None
        };
        let expiry = claims
            .get("exp")
            .and_then(Value::as_f64)
            .ok_or(AuthError::Invalid)?;
        let expiry = Duration::try_from_secs_f64(expiry).ok();
        let expiry = expiry.and_then(|since| {
            SystemTime::UNIX_EPOCH
                .checked_add(since)?
                .checked_add(LEEWAY)
        });
        let mut identity = Identity::new(user).with_claims(claims);
        if let Some(grants) = grants {
            identity = identity.with_grants(grants);
        }
        // An expiry that the clock cannot represent is never reached.
        if let Some(expiry) = expiry {
            identity = identity.expires_at(expiry);
        }
        Ok(identity)
    }
}

impl Authenticator for Jwt {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(ready(credentials.check(|token| self.verify(token))))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}

fn auth_error(error: &Error) -> AuthError {
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

/// Verifies with ring, which TLS also uses, so that the program has one implementation of
/// cryptography.
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
