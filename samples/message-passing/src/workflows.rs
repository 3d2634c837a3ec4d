//! The workflow. It waits for messages: queries read its state, a signal approves, and updates change the language.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

use crate::{activities::GreetingActivities, language::Language};
use serde::{Deserialize, Serialize};
use shared::{Input, Json, Lock, handlers_finished};
use std::{collections::BTreeMap, error::Error, mem, time::Duration};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityOptions, ApplicationFailure, SyncWorkflowContext,
    WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

/// Type of the failure of an update to a language that has no greeting.
pub const NOT_SUPPORTED: &str = "LanguageNotSupported";

/// Time limit for one attempt to call the greeting service.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for all attempts. All other updates to new languages wait meanwhile.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(60);

/// Error of a handler.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Input of `get_languages`: `{"include_unsupported":false}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct GetLanguages {
    /// Whether to list languages without a greeting, too.
    pub include_unsupported: bool,
}

/// Input of `set_language` and `set_language_using_activity`: `{"language":2}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct SetLanguage {
    /// The new language.
    pub language: Language,
}

/// Input of `approve`: `{"name":"Ada"}`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Approve {
    /// Name of the person who approves. May be empty.
    pub name: String,
}

/// Waits for an approval, and returns the greeting in the language of that moment.
#[workflow]
pub struct GreetingWorkflow {
    language: Language,
    greetings: BTreeMap<Language, String>,
    approver: Option<String>,
    lock: Lock,
}

// Handlers can run before the first line of `run`, so the state must be right from the beginning.
impl Default for GreetingWorkflow {
    fn default() -> Self {
        let greetings = [
            (Language::Chinese, "你好，世界"),
            (Language::English, "Hello, world"),
        ];
        Self {
            language: Language::English,
            greetings: greetings.map(|(key, value)| (key, value.to_owned())).into(),
            approver: None,
            lock: Lock::default(),
        }
    }
}

#[workflow_methods]
impl GreetingWorkflow {
    /// Returns the greeting.
    #[run]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        nothing: Input<()>,
    ) -> WorkflowResult<String> {
        nothing.decode(ctx)?;
        let approved = ctx
            .wait_condition(|workflow| workflow.approver.is_some() && ctx.all_handlers_finished())
            .await;
        if approved.is_err() {
            // The end of the workflow would abort updates that are not finished, so a cancelled workflow waits for
            // them, too.
            handlers_finished(ctx).await?;
            return Err(WorkflowTermination::cancelled());
        }
        Ok(ctx.state(|workflow| {
            let greeting = workflow.greetings.get(&workflow.language);
            greeting.cloned().unwrap_or_default()
        }))
    }

    /// Returns the languages that have a greeting, or all languages.
    #[query(name = "get_languages")]
    pub fn get_languages(
        &self,
        _ctx: &WorkflowContextView,
        input: Input<GetLanguages>,
    ) -> Result<Vec<Language>, HandlerError> {
        Ok(match input.into_result()?.include_unsupported {
            true => Language::ALL.to_vec(),
            false => self.greetings.keys().copied().collect(),
        })
    }

    /// Returns the current language.
    #[query(name = "get_language")]
    pub fn get_language(&self, _ctx: &WorkflowContextView, _nothing: Input<()>) -> Language {
        self.language
    }

    /// Lets the workflow end. Without an argument, the approval has no name.
    #[signal(name = "approve")]
    pub fn approve(&mut self, ctx: &mut SyncWorkflowContext<Self>, input: Input<Option<Approve>>) {
        if let Some(input) = input.or_ignored(ctx, "approve") {
            self.approver = Some(input.unwrap_or_default().name);
        }
    }

    /// Rejects a language without greeting, before the update is in the history. A validator only reads the state.
    #[update_validator(set_language)]
    pub fn check_language(
        &self,
        _ctx: &WorkflowContextView,
        input: &Input<SetLanguage>,
    ) -> Result<(), HandlerError> {
        let SetLanguage { language } = input.clone().into_result()?;
        if !self.greetings.contains_key(&language) {
            return Err(not_supported(format!("{language} is not supported")));
        }
        Ok(())
    }

    /// Changes the language, and returns the previous one. The handler does not await, so it needs no lock.
    #[update(name = "set_language")]
    pub fn set_language(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        input: Input<SetLanguage>,
    ) -> Result<Language, HandlerError> {
        let SetLanguage { language } = input.into_result()?;
        Ok(mem::replace(&mut self.language, language))
    }

    /// Changes the language, if need be after a call to the greeting service, and returns the previous one.
    #[update(name = "set_language_using_activity")]
    pub async fn set_language_using_activity(
        ctx: &mut WorkflowContext<Self>,
        input: Input<SetLanguage>,
    ) -> Result<Language, HandlerError> {
        let SetLanguage { language } = input.into_result()?;
        let lock = ctx.state(|workflow| workflow.lock.clone());
        let _guard = lock.lock(ctx).await?;
        // Only now, because an update that had the lock before may have fetched the same greeting.
        if ctx.state(|workflow| !workflow.greetings.contains_key(&language)) {
            let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
                schedule_to_close: SERVICE_TIMEOUT,
                start_to_close: ATTEMPT_TIMEOUT,
            };
            let options = ActivityOptions::with_close_timeouts(timeouts).build();
            let service = GreetingActivities::call_greeting_service;
            // Without `or_cancelled`, because an error ends the update and not the workflow.
            let Json(greeting) = ctx.execute_activity(service, language, options).await?;
            let Some(greeting) = greeting else {
                let message = format!("Greeting service does not support {language}");
                return Err(not_supported(message));
            };
            ctx.state_mut(|workflow| workflow.greetings.insert(language, greeting));
        }
        // After the await, because `set_language` may have changed the language meanwhile.
        Ok(ctx.state_mut(|workflow| mem::replace(&mut workflow.language, language)))
    }
}

fn not_supported(message: String) -> HandlerError {
    let failure = ApplicationFailure::builder(message)
        .type_name(NOT_SUPPORTED.to_owned())
        .non_retryable(true);
    failure.build().into()
}
