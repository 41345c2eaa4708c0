//! The local AWS of a running shop, used from another program with `haven env` and an AWS SDK.

use std::process::{Command, Output};

use e2e::{SETTLED_WITHIN, World, haven};
use reqwest::Method;
use serde_json::Value;

/// Returns the JSON value that a script printed.
#[track_caller]
fn printed(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sdks_use_the_local_aws_only_with_the_variables_of_haven_env() {
    let mut world = World::open(&[]).await;
    // Evaluated by a shell, as users do.
    let script = r#"eval "$("$0" env --state "$1")" && env"#;
    let shell = Command::new("sh")
        .env_clear()
        .args(["-c", script])
        .arg(haven())
        .arg(world.state())
        .output();
    let shell = String::from_utf8(shell.expect("sh runs").stdout).expect("text");
    for (name, fact) in [
        ("AWS_ENDPOINT_URL", "aws_endpoint"),
        ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
    ] {
        let line = format!("{name}={}", world.facts[fact].as_str().expect("a fact"));
        assert!(shell.lines().any(|known| known == line), "{name}: {shell}");
    }
    let id = world.facts["aws_access_key_id"]
        .as_str()
        .expect("a fact")
        .to_owned();
    assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");

    let queues = world.python(
        "print(json.dumps(client('sqs').list_queues()['QueueUrls']))",
        &[],
    );
    let queues = printed(&queues);
    assert!(
        queues.as_array().is_some_and(|queues| queues.len() > 10),
        "{queues}"
    );

    // The SDK signs bodies in different ways, and it signs URLs for others to use.
    let of_s3 = r#"
import hashlib, urllib.error, urllib.request
s3 = client('s3', config=botocore.config.Config(signature_version='s3v4', s3={'addressing_style': 'path'}))
s3.create_bucket(Bucket='beans')
key, body = "dark roast/\u00e9+1 (best).txt", os.urandom(3 << 20)
s3.put_object(Bucket='beans', Key=key, Body=body, ContentType='text/plain', Metadata={'note': 'a  b'})
whole = s3.get_object(Bucket='beans', Key=key)['Body'].read() == body
listed = [found['Key'] for found in s3.list_objects_v2(Bucket='beans', Prefix='dark roast/')['Contents']] == [key]
url = s3.generate_presigned_url('get_object', Params={'Bucket': 'beans', 'Key': key}, ExpiresIn=60)
upload = s3.generate_presigned_url('put_object', Params={'Bucket': 'beans', 'Key': 'by somebody else'}, ExpiresIn=60)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def fetch(url, headers={}, **request):
    try:
        with opener.open(urllib.request.Request(url, headers=headers, **request)) as answer:
            return [answer.status, answer.read() == (b'' if request else body)]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
print(json.dumps({
    'whole': whole, 'listed': listed, 'presigned': fetch(url),
    'uploaded': fetch(upload, method='PUT', data=b'beans'), 'by a page': fetch(url, {'Origin': 'http://a.example'}),
    'changed': fetch(url.replace('roast', 'r0ast')), 'unsigned': fetch(url.split('?')[0]),
}))
"#;
    let of_s3 = printed(&world.python(of_s3, &[]));
    assert_eq!(
        (&of_s3["whole"], &of_s3["listed"]),
        (&Value::Bool(true), &Value::Bool(true)),
        "{of_s3}"
    );
    assert_eq!(
        of_s3["presigned"],
        serde_json::json!([200, true]),
        "{of_s3}"
    );
    assert_eq!(of_s3["uploaded"], serde_json::json!([200, true]), "{of_s3}");
    for refused in ["by a page", "changed", "unsigned"] {
        assert_eq!(of_s3[refused][0], 403, "{refused}: {of_s3}");
    }

    // With a wrong secret or a wrong key id, the SDK must understand the error.
    for (service, call) in [
        ("sqs", "list_queues"),
        ("sns", "list_topics"),
        ("s3", "list_buckets"),
        ("sesv2", "get_account"),
        ("ssm", "describe_parameters"),
    ] {
        for variable in ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"] {
            let script = format!(
                "os.environ['{variable}'] = 'AKIAAAAAAAAAAAAAAAAA'\n\
                 try: client('{service}').{call}(); code = 'none'\n\
                 except botocore.exceptions.ClientError as error: code = error.response['Error']['Code']\n\
                 print(json.dumps(code))"
            );
            let code = printed(&world.python(&script, &[]));
            let known = [
                "InvalidSignatureException",
                "SignatureDoesNotMatch",
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "InvalidAccessKeyId",
            ];
            assert!(
                code.as_str().is_some_and(|code| known.contains(&code)),
                "{service} with another {variable}: {code}"
            );
        }
    }

    // Each run has its own key pair, but the stored data remains.
    world.reopen(&[]).await;
    assert_ne!(world.facts["aws_access_key_id"], *id);
    let again = printed(&world.python(
        "print(json.dumps(client('s3').list_buckets()['Buckets'][0]['Name']))",
        &[],
    ));
    assert_eq!(again, "beans");
    world.close();
    let nothing = world.haven(&["env"]);
    let error = String::from_utf8_lossy(&nothing.stderr);
    assert!(
        !nothing.status.success() && error.contains("haven up"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mailbox_shows_staff_the_notifications_of_customers() {
    let world = World::open(&[]).await;
    let accepted = world.order("espresso", 1, "tok_ok").await;
    world.until(&accepted, &["confirmed"]).await;
    let begun = std::time::Instant::now();
    let list = loop {
        let list = world
            .as_staff(Method::GET, "/staff/mailbox", &[], None)
            .await;
        let page = list.body.as_str().unwrap_or_default().to_owned();
        if page.contains("ana@example.com") {
            break page;
        }
        assert!(begun.elapsed() < SETTLED_WITHIN, "no mail: {page}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let link = list.split("href=\"").find_map(|rest| {
        rest.split('"')
            .next()
            .filter(|link| link.starts_with("/staff/mailbox/"))
    });
    let mail = world
        .as_staff(Method::GET, link.expect("a link to the mail"), &[], None)
        .await;
    assert!(
        mail.status.is_success()
            && mail
                .body
                .as_str()
                .is_some_and(|page| page.contains("Espresso")),
        "{mail:?}"
    );
    let stranger = world.http.get(format!(
        "{}/staff/mailbox",
        world.facts["storefront"].as_str().expect("an address")
    ));
    let stranger = stranger.send().await.expect("an answer");
    assert!(
        stranger.url().path() == "/staff/sign-in",
        "{}",
        stranger.url()
    );
}
