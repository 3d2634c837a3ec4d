//! The activity. It stands in for a service that translates the greeting.

use crate::language::Language;
use shared::Json;
use std::{sync::Arc, time::Duration};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// How long the service takes.
const SERVICE_TIME: Duration = Duration::from_millis(200);

/// The activities of this sample.
#[derive(Clone, Debug, Default)]
pub struct GreetingActivities {
    /// Languages that the service does not know.
    pub unsupported: Vec<Language>,
}

#[activities]
impl GreetingActivities {
    /// Returns the greeting in this language, or nothing if the service does not know the language.
    #[activity(name = "call_greeting_service")]
    pub async fn call_greeting_service(
        self: Arc<Self>,
        _ctx: ActivityContext,
        language: Language,
    ) -> Result<Json<Option<String>>, ActivityError> {
        tokio::time::sleep(SERVICE_TIME).await;
        let known = !self.unsupported.contains(&language);
        Ok(Json(known.then(|| greeting(language).to_owned())))
    }
}

fn greeting(language: Language) -> &'static str {
    match language {
        Language::Arabic => "مرحبا بالعالم",
        Language::Chinese => "你好，世界",
        Language::English => "Hello, world",
        Language::French => "Bonjour, monde",
        Language::Hindi => "नमस्ते दुनिया",
        Language::Portuguese => "Olá mundo",
        Language::Spanish => "Hola mundo",
    }
}
