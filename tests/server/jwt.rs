//! JSON Web Tokens, checked by a hub over a real socket.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use outrace::access::{AuthError, Jwt, JwtKeyError};
use outrace::{Client, Hub};
use outrace_testkit::http::bearer;
use outrace_testkit::{Server, Socket, base64, base64url, http, jwt, until};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// An RSA key without its private half, a token that it has signed (for "alice", until 2100), and a
/// key of 1024 bits.
const RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAsf+oSVO1l7jH+IzhkD3L
l0ppPbWzv1CZW0ysZCeIh6mvePZnO1vi7m7Nhs2ckOSWRXAANrgPCqGRvsmpBTwn
X8KlXOf760n4xXtMg5Cub/qYuWFg20mVwWz9mZkbH/SklRKouFRZ3IHwvTKHv7zc
A/UXDL8T3W1LjL1EQhSmadBCQF60u1sbvuZNnNqCMzPxZwq3SCiElei4ADfKqeeV
RvX37w/Bqb2VoDoLeyyLFJ3KnzZI7GGO5kaV9ClivEHijSh+yfAEEb8qw8dNolKd
nI+R/IaXhMKrcgLxEpE5BS84QQWbZJgUi5WLa1o/4+tNZl+1Z661moaTRvxo8KPj
tQIDAQAB
-----END PUBLIC KEY-----
";
const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.\
    lsfSAogPJuqcGT3FQC_wP7nL6angAWHN_ugqBLKSn6NtgYW6UkvVlQ3GGlJlZHl97o79AI7Ybx69I6gDGv2LVltdJtW6ucr_saVahvKf\
    XlUYrWl5CN73XyCV0WM204ayfKvUeYFhsnoXSk3TiNTZYti7WPxWtS9b4g61VoYLB7DWYEuHbp8IuiwuJKEohAF32HTTFizpL1JW11Uk\
    GLb2x_rHxcnF3VgvPCL6IcrIz4Cdq4lICDIJe5Z328DtOaS6_R7sSLytcFfnUo2rvvyV9QSFai2u-dcF0XDQieewpUruJA102g13qSDq\
    FNHRukm1PI5XoG89IjlfAQTn-xv0UA";
const SMALL_RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC19Pq3e94NFBW5+YGIW+IGLQmW
1LhsWW+j5sdzkOKKCJmPMcKu9LPXntw2QsJMuXMON9VYxHyIc3yS8dYkPJkBFZgO
UrHWzkRlc0LNa2yVpxH7y4h2rScPWS21ueQkDT47k8DYsn+w8wtitC5XnbcRs5xG
qJ40NRf8uv7XgX9nFwIDAQAB
-----END PUBLIC KEY-----
";

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64(der, *b"+/", true)
    )
}

fn hmac(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    move |message| ring::hmac::sign(&key, message).as_ref().to_vec()
}

fn hs256(claims: &Value) -> String {
    jwt(&json!({"alg": "HS256", "typ": "JWT"}), claims, hmac(SECRET))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A server that checks tokens, and the reason of its last refusal.
struct Guarded {
    server: Server,
    refusal: Arc<Mutex<Option<AuthError>>>,
}

impl Guarded {
    fn by(jwt: Jwt) -> Self {
        let refusal = Arc::new(Mutex::new(None));
        let told = Arc::clone(&refusal);
        let hub = Hub::builder()
            .authenticator(jwt)
            .on_auth_failure(move |_, error| *told.lock().unwrap() = Some(error.clone()));
        Self {
            server: Server::with(hub),
            refusal,
        }
    }

    #[track_caller]
    fn admits(&self, token: &str) {
        let answer = http::get(self.server.address, &format!("/api/stats?token={token}"));
        assert_eq!(
            answer.status,
            200,
            "{answer:?}: {:?}",
            self.refusal.lock().unwrap()
        );
    }

    #[track_caller]
    fn refuses(&self, token: &str, why: AuthError) {
        http::get(self.server.address, &format!("/api/stats?token={token}"))
            .assert_refusal(401, "Unauthorised");
        assert_eq!(self.refusal.lock().unwrap().take(), Some(why));
    }

    fn client(&self, token: &str) -> (Socket, Arc<Client>) {
        let socket = Socket::connect_with(self.server.address, &bearer(token));
        until("it is listed", || self.server.hub.clients().len() == 1);
        let client = self.server.hub.clients().next().unwrap();
        (socket, client)
    }
}

#[test]
fn a_signed_token_names_its_user_and_the_rest_are_claims() {
    let door = Guarded::by(Jwt::from_secret(SECRET).unwrap());
    let exp = now() + 600;
    let (_socket, client) = door.client(&hs256(
        &json!({"sub": "alice", "exp": exp, "team": ["a", 1]}),
    ));
    let identity = client.identity().unwrap();
    assert_eq!(identity.user(), "alice");
    assert_eq!(
        Value::Object(identity.claims().clone()),
        json!({"exp": exp, "team": ["a", 1]})
    );
    let left = identity
        .expiry()
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap()
        .as_secs();
    assert!((590..610).contains(&left), "{left}");
    assert_eq!(identity.grants(), Some(&outrace::access::Grants::default()));
}

#[test]
fn each_kind_of_key_checks_its_own_algorithm() {
    let random = ring::rand::SystemRandom::new();
    let claims = json!({"sub": "alice", "exp": now() + 600});

    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref())
        .unwrap();
    let prefix = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let key = pem(&[&prefix[..], ed.public_key().as_ref()].concat());
    let door = Guarded::by(Jwt::from_pem(key.as_bytes()).unwrap());
    let signed = jwt(&json!({"alg": "EdDSA"}), &claims, |message| {
        ed.sign(message).as_ref().to_vec()
    });
    door.admits(&signed);
    door.refuses(&hs256(&claims), AuthError::Invalid);
    door.refuses(RSA_TOKEN, AuthError::Invalid);

    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap();
    let prefix = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let key = pem(&[&prefix[..], ec.public_key().as_ref()].concat());
    let door = Guarded::by(Jwt::from_pem(key.as_bytes()).unwrap());
    let sign = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
    door.admits(&jwt(&json!({"alg": "ES256"}), &claims, sign));
    door.refuses(
        &jwt(&json!({"alg": "EdDSA"}), &claims, sign),
        AuthError::Invalid,
    );

    let door = Guarded::by(Jwt::from_pem(RSA_KEY.as_bytes()).unwrap());
    door.admits(RSA_TOKEN);
    // Two bits of the last character do not count. The test changes the character before it.
    let (head, tail) = RSA_TOKEN.split_at(RSA_TOKEN.len() - 5);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    door.refuses(&format!("{head}{other}{}", &tail[1..]), AuthError::Invalid);
    door.refuses(&signed, AuthError::Invalid);
}

#[test]
fn the_algorithm_that_a_token_names_is_not_trusted() {
    let claims = json!({"sub": "alice", "exp": now() + 600});
    let none = |algorithm: &str| {
        jwt(&json!({"alg": algorithm, "typ": "JWT"}), &claims, |_| {
            Vec::new()
        })
    };
    let rsa = Guarded::by(Jwt::from_pem(RSA_KEY.as_bytes()).unwrap());
    let secret = Guarded::by(Jwt::from_secret(SECRET).unwrap());
    for door in [&rsa, &secret] {
        for algorithm in ["none", "None", "NONE", "", "HS256", "RS256", "HS512"] {
            door.refuses(&none(algorithm), AuthError::Invalid);
        }
    }
    // The public key is known to everyone, so it must not serve as the secret of HS256.
    for key in [RSA_KEY, RSA_KEY.trim_end()] {
        rsa.refuses(
            &jwt(&json!({"alg": "HS256"}), &claims, hmac(key.as_bytes())),
            AuthError::Invalid,
        );
        rsa.refuses(
            &jwt(&json!({"alg": "RS256"}), &claims, hmac(key.as_bytes())),
            AuthError::Invalid,
        );
    }
    // A key inside the token is not trusted.
    let brought = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": base64url(b"mine")}, "kid": "../../dev/null"});
    secret.refuses(&jwt(&brought, &claims, hmac(b"mine")), AuthError::Invalid);
    secret.refuses(
        &jwt(&json!({"alg": "HS512"}), &claims, hmac(SECRET)),
        AuthError::Invalid,
    );
    secret.refuses(
        &jwt(&json!({"alg": "HS256"}), &claims, hmac(b"another")),
        AuthError::Invalid,
    );
    secret.admits(&jwt(&json!({"alg": "HS256"}), &claims, hmac(SECRET)));
    for garbage in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", "%00.%00.%00"] {
        let why = if garbage.is_empty() {
            AuthError::Missing
        } else {
            AuthError::Invalid
        };
        secret.refuses(garbage, why);
    }
}

#[test]
fn a_token_counts_within_its_time_for_its_audience_and_from_its_issuer() {
    let door = Guarded::by(
        Jwt::from_secret(SECRET)
            .unwrap()
            .audience("outrace")
            .audience("other")
            .issuer("https://id.example"),
    );
    let with = |more: Value| {
        let issuer = "https://id.example";
        let mut claims =
            json!({"sub": "alice", "exp": now() + 600, "aud": "outrace", "iss": issuer});
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        hs256(&claims)
    };
    door.admits(&with(json!({})));
    door.admits(&with(json!({"nbf": now() - 5})));
    door.admits(&with(json!({"aud": ["a", "other"]})));
    for (more, why) in [
        (json!({"exp": now() - 60}), AuthError::Expired),
        (json!({"nbf": now() + 60}), AuthError::NotYetValid),
        (json!({"exp": null}), AuthError::Invalid),
        (json!({"exp": "never"}), AuthError::Invalid),
        (json!({"sub": null}), AuthError::Invalid),
        (json!({"sub": 1}), AuthError::Invalid),
        (json!({"aud": "elsewhere"}), AuthError::Invalid),
        (json!({"aud": null}), AuthError::Invalid),
        (json!({"iss": "https://evil.example"}), AuthError::Invalid),
        (json!({"iss": null}), AuthError::Invalid),
    ] {
        door.refuses(&with(more), why);
    }
    // A token for another audience is refused even if the hub names no audience.
    let unnamed = Guarded::by(Jwt::from_secret(SECRET).unwrap());
    unnamed.refuses(&with(json!({})), AuthError::Invalid);
    unnamed.admits(&with(json!({"aud": null})));
    // A time beyond the range of the clock never comes.
    unnamed.admits(&with(json!({"aud": null, "exp": u64::MAX})));
}

#[test]
fn a_token_grants_what_its_claims_say() {
    let door = Guarded::by(Jwt::from_secret(SECRET).unwrap().grants_from_claims());
    let with = |more: Value| {
        let mut claims = json!({"sub": "alice", "exp": now() + 600});
        claims
            .as_object_mut()
            .unwrap()
            .append(&mut more.as_object().unwrap().clone());
        hs256(&claims)
    };
    let (mut socket, _) = door.client(&with(
        json!({"subscribe": ["process:web-*"], "publish": ["logs"]}),
    ));
    for (channel, refusals) in [("process:web-1", 0), ("process:db", 1)] {
        socket.send_json(json!({"type": "subscribe", "channel": channel}));
        assert_eq!(socket.ping().len(), refusals, "{channel}");
    }
    let publish = |token: &str, channel: &str| {
        let headers =
            format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
        let body =
            json!({"action": "ws.send_channel", "channel": channel, "type": "t"}).to_string();
        http::post(door.server.address, "/api/actions", &headers, &body).status
    };
    let publisher = with(json!({"publish": ["logs"]}));
    assert_eq!(
        (publish(&publisher, "logs"), publish(&publisher, "other")),
        (200, 403)
    );
    assert_eq!(
        publish(&with(json!({})), "logs"),
        403,
        "nothing said is nothing granted"
    );
    for wrong in [
        json!({"subscribe": "a b"}),
        json!({"publish": [1]}),
        json!({"subscribe": ["é"]}),
    ] {
        door.refuses(&with(wrong), AuthError::Invalid);
    }
}

#[test]
fn a_key_that_cannot_check_tokens_is_refused() {
    assert_eq!(
        Jwt::from_secret(&SECRET[1..]).unwrap_err(),
        JwtKeyError::Short(31)
    );
    let private =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        Jwt::from_pem(private.as_bytes()).unwrap_err(),
        JwtKeyError::Private
    );
    for wrong in [
        "",
        "garbage",
        SMALL_RSA_KEY,
        &RSA_KEY.replace("MIIB", "AAAA"),
    ] {
        assert_eq!(
            Jwt::from_pem(wrong.as_bytes()).unwrap_err(),
            JwtKeyError::Unknown,
            "{wrong}"
        );
    }
}
