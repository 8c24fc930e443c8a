//! Options and environment variables to a store.
//!
//! An option wins over the environment variable of the same meaning. Where neither gives credentials, the cloud's own are used: those
//! of a web identity, of the container, of the machine.

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
use std::sync::Arc;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
use std::time::Duration;

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
use object_store::{BackoffConfig, RetryConfig};

use super::Bucket;
use super::location::{Kind, Place};
use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// How long a request is tried again.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
const TIMEOUT: Duration = Duration::from_secs(60);
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An option of a kind of store.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http")),
    allow(dead_code, reason = "only stores of the build read them")
)]
struct StoreOption {
    spec: OptionSpec,
    /// Of all kinds, if it is of none.
    kind: Option<Kind>,
    /// What `object_store` calls it.
    key: &'static str,
    meaning: Meaning,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Plain,
    /// Who asks. One of these as an option leaves those of the environment out.
    Credential,
    /// The opposite is asked for.
    Not,
    /// An address, perhaps without its scheme.
    Endpoint,
}

const fn option(
    name: &'static str,
    of: OptionType,
    kind: Kind,
    key: &'static str,
    meaning: Meaning,
    help: &'static str,
) -> StoreOption {
    StoreOption { spec: OptionSpec::new(name, of, help), kind: Some(kind), key, meaning }
}

/// How many options paths of stores have.
pub const NUM_OPTIONS: usize = 35;

#[rustfmt::skip]
const ALL: [StoreOption; NUM_OPTIONS] = {
    use Kind::{Azure, Gcs, S3};
    use Meaning::*;
    use OptionType::{Boolean, Path, Secret, Text};
    [
        StoreOption {
            spec: OptionSpec::new("storeTimeout", OptionType::Duration, "How long a request to a store that fails is tried again.").or("1 minute"),
            kind: None,
            key: "",
            meaning: Plain,
        },
        option("s3.region", Text, S3, "aws_region", Plain, "The region of the bucket."),
        option("fs.s3a.endpoint.region", Text, S3, "aws_region", Plain, "The same as s3.region."),
        option("s3.endpoint", Text, S3, "aws_endpoint", Endpoint, "The address of a server that is not Amazon's; one that begins with http:// is used so."),
        option("fs.s3a.endpoint", Text, S3, "aws_endpoint", Endpoint, "The same as s3.endpoint."),
        option("s3.accessKeyId", Secret, S3, "aws_access_key_id", Credential, "The id of the key."),
        option("fs.s3a.access.key", Secret, S3, "aws_access_key_id", Credential, "The same as s3.accessKeyId."),
        option("s3.secretAccessKey", Secret, S3, "aws_secret_access_key", Credential, "The key."),
        option("fs.s3a.secret.key", Secret, S3, "aws_secret_access_key", Credential, "The same as s3.secretAccessKey."),
        option("s3.sessionToken", Secret, S3, "aws_session_token", Credential, "The token of a key that is valid for a while."),
        option("fs.s3a.session.token", Secret, S3, "aws_session_token", Credential, "The same as s3.sessionToken."),
        option("s3.allowHttp", Boolean, S3, "allow_http", Plain, "Whether it is asked without TLS if its address says so."),
        option("fs.s3a.connection.ssl.enabled", Boolean, S3, "allow_http", Not, "The opposite of s3.allowHttp."),
        option("s3.pathStyle", Boolean, S3, "aws_virtual_hosted_style_request", Not, "Whether the bucket is in the path, which it is if nothing is said, or in the name of the server."),
        option("fs.s3a.path.style.access", Boolean, S3, "aws_virtual_hosted_style_request", Not, "The same as s3.pathStyle."),
        option("s3.anonymous", Boolean, S3, "aws_skip_signature", Plain, "Whether requests are not signed."),
        option("s3.requesterPays", Boolean, S3, "aws_request_payer", Plain, "Whether the reader pays."),
        option("fs.s3a.requester.pays.enabled", Boolean, S3, "aws_request_payer", Plain, "The same as s3.requesterPays."),
        option("gcs.serviceAccountPath", Path, Gcs, "google_service_account", Credential, "The file of a service account."),
        option("fs.gs.auth.service.account.json.keyfile", Path, Gcs, "google_service_account", Credential, "The same as gcs.serviceAccountPath."),
        option("gcs.serviceAccountKey", Secret, Gcs, "google_service_account_key", Credential, "The text of such a file."),
        option("gcs.endpoint", Text, Gcs, "google_base_url", Endpoint, "The address of a server that is not Google's."),
        option("gcs.allowHttp", Boolean, Gcs, "allow_http", Plain, "Whether it is asked without TLS if its address says so."),
        option("gcs.anonymous", Boolean, Gcs, "google_skip_signature", Plain, "Whether requests are not signed."),
        option("azure.account", Text, Azure, "azure_storage_account_name", Plain, "The storage account."),
        option("azure.accountKey", Secret, Azure, "azure_storage_account_key", Credential, "Its key."),
        option("azure.sasToken", Secret, Azure, "azure_storage_sas_key", Credential, "A shared access signature."),
        option("azure.token", Secret, Azure, "azure_storage_token", Credential, "A bearer token."),
        option("azure.clientId", Text, Azure, "azure_storage_client_id", Credential, "The id of an application."),
        option("azure.clientSecret", Secret, Azure, "azure_storage_client_secret", Credential, "Its secret."),
        option("azure.tenantId", Text, Azure, "azure_storage_tenant_id", Credential, "Its tenant."),
        option("azure.endpoint", Text, Azure, "azure_storage_endpoint", Endpoint, "The address of a server that is not Azure's."),
        option("azure.allowHttp", Boolean, Azure, "allow_http", Plain, "Whether it is asked without TLS if its address says so."),
        option("azure.anonymous", Boolean, Azure, "azure_skip_signature", Plain, "Whether requests are not signed."),
        option("azure.emulator", Boolean, Azure, "azure_storage_use_emulator", Plain, "Whether the server is the emulator of this machine."),
    ]
};

/// What [`super::Store::of`] reads.
pub const OPTIONS: [OptionSpec; NUM_OPTIONS] = with_store_options([]);

/// Options of something that has a path, and those of the path's store.
pub const fn with_store_options<const OWN: usize, const WHOLE: usize>(own: [OptionSpec; OWN]) -> [OptionSpec; WHOLE] {
    assert!(OWN + NUM_OPTIONS == WHOLE, "all options have a place");
    let mut all = [ALL[0].spec; WHOLE];
    let mut i = 0;
    while i < WHOLE {
        all[i] = if i < OWN { own[i] } else { ALL[i - OWN].spec };
        i += 1;
    }
    all
}

/// Refuses options of another kind of store than the path's, or of any if it is local.
pub(super) fn check(path: &str, kind: Option<Kind>, options: &OptionReader<'_>) -> Result<()> {
    for option in &ALL {
        let is_given = options.string(option.spec.name).is_some();
        let fits = if option.kind.is_none() { kind.is_some() } else { option.kind == kind };
        if is_given && !fits {
            let message = format!("the option '{}' is for paths of another store than '{path}'", option.spec.name);
            return Err(Error::invalid("INVALID_OPTION", message).with_help(
                "leave it out; s3.… belongs to s3://, gcs.… to gs://, azure.… to az://, storeTimeout to all of them",
            ));
        }
    }
    Ok(())
}

/// The bucket of a place, with the options of its kind of store.
///
/// # Errors
/// An option that does not fit; a kind of store that is not part of this build.
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http")),
    allow(unused_variables, reason = "there is no store that has options")
)]
pub(super) fn connect(place: &Place, options: &OptionReader<'_>) -> Result<Bucket> {
    match place.kind {
        #[cfg(feature = "s3")]
        Kind::S3 => s3(place, options, retry(options)?),
        #[cfg(feature = "gcs")]
        Kind::Gcs => gcs(place, options, retry(options)?),
        #[cfg(feature = "azure")]
        Kind::Azure => azure(place, options, retry(options)?),
        #[cfg(feature = "http")]
        Kind::Http => http(place, retry(options)?),
        #[cfg(test)]
        Kind::Memory => Ok(super::testing::bucket(place)),
        #[allow(unreachable_patterns, reason = "which kinds are left depends on the features")]
        kind => Err(not_built(kind)),
    }
}

/// How long and how often a request is tried.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
fn retry(options: &OptionReader<'_>) -> Result<RetryConfig> {
    let timeout = options.duration("storeTimeout")?.unwrap_or(TIMEOUT);
    let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE.min(timeout), ..BackoffConfig::default() };
    Ok(RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: timeout })
}

#[allow(dead_code, reason = "not used where all kinds are part of the build")]
fn not_built(kind: Kind) -> Error {
    let feature = match kind {
        Kind::S3 => "s3",
        Kind::Gcs => "gcs",
        Kind::Azure => "azure",
        _ => "http",
    };
    Error::unsupported("UNSUPPORTED_FILE_SYSTEM", format!("this build of tidemill has no stores of the kind {feature}"))
        .with_help(format!("build it with the cargo feature '{feature}'"))
}

/// What the options say, and whether requests may go without TLS.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
fn given(kind: Kind, options: &OptionReader<'_>) -> Result<(Vec<(&'static StoreOption, String)>, bool)> {
    let (mut given, mut is_http) = (vec![], false);
    for option in of_kind(kind) {
        let name = option.spec.name;
        let Some(text) = options.string(name) else { continue };
        let value = match option.spec.option_type {
            OptionType::Boolean => (options.bool(name)? != (option.meaning == Meaning::Not)).to_string(),
            _ => text.to_owned(),
        };
        // Who writes the scheme, or gives such an address, wants it.
        is_http |= option.key == "allow_http" && value == "true";
        is_http |= option.meaning == Meaning::Endpoint && value.starts_with("http://");
        given.push((option, value));
    }
    Ok((given, is_http))
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
fn of_kind(kind: Kind) -> impl Iterator<Item = &'static StoreOption> {
    static OPTIONS_OF_ALL: [StoreOption; NUM_OPTIONS] = ALL;
    OPTIONS_OF_ALL.iter().filter(move |option| option.kind == Some(kind))
}

/// What the options and the environment say: keys of `object_store` with their values. Environment variables begin with a prefix.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
fn configuration(kind: Kind, prefixes: &[&str], options: &OptionReader<'_>) -> Result<Vec<(String, String)>> {
    let (given, mut is_http) = given(kind, options)?;
    let is_credential = |key: &str| of_kind(kind).any(|o| o.meaning == Meaning::Credential && o.key == key);
    let has_credentials = given.iter().any(|(option, _)| option.meaning == Meaning::Credential);
    let of_environment = std::env::vars_os().filter_map(|(key, value)| {
        let key = key.to_str().filter(|key| prefixes.iter().any(|p| key.starts_with(p)))?.to_ascii_lowercase();
        let value = value.to_str()?.to_owned();
        (!(has_credentials && is_credential(&key))).then_some((key, value))
    });
    let mut configuration: Vec<_> = of_environment.collect();
    configuration.sort();
    // An address without TLS in the environment is wanted as one in the options is.
    is_http |= configuration.iter().any(|(key, value)| key.contains("endpoint") && value.starts_with("http://"));
    for (option, value) in given {
        let value = match option.meaning {
            Meaning::Endpoint if !value.contains("://") => {
                format!("{}://{value}", if is_http { "http" } else { "https" })
            }
            _ => value,
        };
        configuration.push((option.key.to_owned(), value));
    }
    if is_http {
        configuration.push(("allow_http".to_owned(), "true".to_owned()));
    }
    // A server that is not there is not waited for; a request that gets stuck ends.
    for (key, value) in [("connect_timeout", "5 seconds"), ("timeout", "30 seconds")] {
        let is_set = |known: &str| {
            known == key || ["aws_", "google_", "azure_"].iter().any(|p| known.strip_prefix(p) == Some(key))
        };
        if !configuration.iter().any(|(known, _)| is_set(known)) {
            configuration.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(configuration)
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure", feature = "http"))]
fn failed(place: &Place, e: &object_store::Error) -> Error {
    let e = super::store_error("connecting to", &place.base, e);
    Error::invalid("INVALID_OPTION", e.message())
        .with_help(e.help().unwrap_or("check the options of the store").to_owned())
}

#[cfg(feature = "s3")]
fn s3(place: &Place, options: &OptionReader<'_>, retry: RetryConfig) -> Result<Bucket> {
    let mut builder = object_store::aws::AmazonS3Builder::new().with_bucket_name(&place.bucket).with_retry(retry);
    for (key, value) in configuration(Kind::S3, &["AWS"], options)? {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = Arc::new(builder.build().map_err(|e| failed(place, &e))?);
    Ok(Bucket::new(place.base.clone(), store.clone(), Some(store)))
}

#[cfg(feature = "gcs")]
fn gcs(place: &Place, options: &OptionReader<'_>, retry: RetryConfig) -> Result<Bucket> {
    let mut builder =
        object_store::gcp::GoogleCloudStorageBuilder::new().with_bucket_name(&place.bucket).with_retry(retry);
    for (key, value) in configuration(Kind::Gcs, &["GOOGLE"], options)? {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = Arc::new(builder.build().map_err(|e| failed(place, &e))?);
    Ok(Bucket::new(place.base.clone(), store.clone(), Some(store)))
}

#[cfg(feature = "azure")]
fn azure(place: &Place, options: &OptionReader<'_>, retry: RetryConfig) -> Result<Bucket> {
    let mut builder = object_store::azure::MicrosoftAzureBuilder::new().with_retry(retry);
    builder = match place.base.contains('@') {
        // Container and account.
        true => builder.with_url(&place.base),
        false => builder.with_container_name(&place.bucket),
    };
    for (key, value) in configuration(Kind::Azure, &["AZURE", "MSI", "IDENTITY"], options)? {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = Arc::new(builder.build().map_err(|e| failed(place, &e))?);
    Ok(Bucket::new(place.base.clone(), store.clone(), Some(store)))
}

#[cfg(feature = "http")]
fn http(place: &Place, retry: RetryConfig) -> Result<Bucket> {
    let client = object_store::ClientOptions::new()
        .with_allow_http(place.base.starts_with("http://"))
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(30));
    let builder =
        object_store::http::HttpBuilder::new().with_url(&place.base).with_retry(retry).with_client_options(client);
    let store = Arc::new(builder.build().map_err(|e| failed(place, &e))?);
    Ok(Bucket::new(place.base.clone(), store, None))
}
