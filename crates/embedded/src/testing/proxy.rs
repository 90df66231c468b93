//! A network between a server and its clients that a test can cut, at any byte, stop and slow down.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most that is passed on at once.
const CHUNK: usize = 64 * 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a client to the server.
    Up,
    /// From the server to a client.
    Down,
}

/// Passes bytes between clients and the server at a port of this machine. It ends with its process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
}

#[derive(Debug)]
struct Network {
    state: Mutex<State>,
    /// Bytes that were held up may go on.
    thawed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    server: u16,
    /// Both ends of each connection there ever was; a connection's number is its place.
    connections: Vec<[TcpStream; 2]>,
    /// New connections are closed at once.
    refuses: bool,
    /// The connections before this one pass nothing on.
    silent_before: usize,
    /// Before bytes are passed on.
    delay: Duration,
    /// Which connection is to be cut, and where.
    cut: Option<(Way, Place)>,
    /// How many bytes went up and down.
    passed: [usize; 2],
}

/// Where a connection is to be cut.
#[derive(Debug)]
enum Place {
    /// After so many bytes more.
    After(usize),
    /// Before this text; nobody can connect from then on.
    Before(&'static str),
}

/// What is to be done with bytes that came.
enum Fate {
    Pass,
    /// So many are passed on, and then the connection is cut.
    Cut(usize),
}

impl Proxy {
    /// Listens on a port of its own.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Mutex::new(State { server, ..State::default() });
        let network = Arc::new(Network { state, thawed: Condvar::new() });
        let accepting = network.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.connect(client);
            }
        });
        Self { port, network }
    }

    /// Where it listens, on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on another server is at the end of new connections.
    pub fn lead_to(&self, server: u16) {
        self.network.state().server = server;
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for connection in &self.network.state().connections {
            hang_up(connection);
        }
    }

    /// Cuts all connections and lets no new ones come about, until [`Self::open`].
    pub fn close(&self) {
        self.network.state().refuses = true;
        self.cut();
    }

    /// Lets new connections come about.
    pub fn open(&self) {
        self.network.state().refuses = false;
    }

    /// Cuts the connection over which, from now on, so many bytes have gone this way; no byte more
    /// goes through.
    pub fn cut_after(&self, way: Way, bytes: usize) {
        self.network.state().cut = Some((way, Place::After(bytes)));
    }

    /// Cuts the connection over which this text is to go next, before it goes through, and lets no new
    /// ones come about, until [`Self::open`].
    pub fn close_before(&self, way: Way, text: &'static str) {
        self.network.state().cut = Some((way, Place::Before(text)));
    }

    /// Whether the cut that was asked for has not come yet.
    pub fn will_cut(&self) -> bool {
        self.network.state().cut.is_some()
    }

    /// Passes nothing on over the connections there are, which stay open. New ones work.
    pub fn silence(&self) {
        let mut state = self.network.state();
        state.silent_before = state.connections.len();
    }

    /// Passes everything on again, first of all what was held up; its sender may be gone by then.
    pub fn thaw(&self) {
        self.network.state().silent_before = 0;
        self.network.thawed.notify_all();
    }

    /// Bytes wait so long before they are passed on.
    pub fn delay(&self, by: Duration) {
        self.network.state().delay = by;
    }

    /// How many bytes went this way.
    pub fn passed(&self, way: Way) -> usize {
        self.network.state().passed[way as usize]
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a client with the server, unless there is none.
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.state();
        if state.refuses {
            return;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, state.server)) else { return };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let number = state.connections.len();
        let copy = |stream: &TcpStream| stream.try_clone().expect("a copy of a socket");
        state.connections.push([copy(&client), copy(&server)]);
        for (from, to, way) in
            [(copy(&client), copy(&server), Way::Up), (server, client, Way::Down)]
        {
            let network = self.clone();
            std::thread::spawn(move || network.pump(number, [from, to], way));
        }
    }

    fn pump(&self, number: usize, [mut from, mut to]: [TcpStream; 2], way: Way) {
        let mut bytes = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let fate = self.fate(number, way, &bytes[..count]);
            let passed = match fate {
                Fate::Pass => count,
                Fate::Cut(passed) => passed,
            };
            // Counted first: whoever has the answer may ask.
            self.state().passed[way as usize] += passed;
            if to.write_all(&bytes[..passed]).is_err() || matches!(fate, Fate::Cut(_)) {
                break;
            }
        }
        hang_up(&[from, to]);
    }

    fn fate(&self, number: usize, way: Way, bytes: &[u8]) -> Fate {
        let mut state = self.state();
        while number < state.silent_before {
            state = self.thawed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let delay = state.delay;
        if !delay.is_zero() {
            drop(state);
            std::thread::sleep(delay);
            state = self.state();
        }
        let Some((_, place)) = state.cut.as_mut().filter(|(cut_way, _)| *cut_way == way) else {
            return Fate::Pass;
        };
        let passed = match place {
            Place::After(left) if *left < bytes.len() => *left,
            Place::After(left) => {
                *left -= bytes.len();
                return Fate::Pass;
            }
            Place::Before(text) => {
                let text = text.as_bytes();
                let Some(at) = bytes.windows(text.len()).position(|window| window == text) else {
                    return Fate::Pass;
                };
                state.refuses = true;
                at
            }
        };
        state.cut = None;
        Fate::Cut(passed)
    }
}

/// Ends a connection both ways; what has not arrived yet is lost.
fn hang_up(ends: &[TcpStream; 2]) {
    for end in ends {
        end.shutdown(Shutdown::Both).ok();
    }
}
