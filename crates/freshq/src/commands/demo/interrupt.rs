//! Ctrl-C and SIGTERM: noted here, acted on where the demo waits, so that everything is stopped in
//! order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Whether the user wants the demo to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Begins to note signals. From here on they no longer end the process by themselves.
    pub(super) fn watch() -> io::Result<Self> {
        let noted = Arc::new(AtomicBool::new(false));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // Registered before this returns: nothing is started that a signal could leave behind.
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let note = noted.clone();
        // It lives until the process ends and holds nothing but the flag.
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    note.store(true, Ordering::Relaxed);
                }
            });
        });
        Ok(Self(noted))
    }

    pub(super) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
