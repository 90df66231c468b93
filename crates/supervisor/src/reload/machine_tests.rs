//! Sequences of inputs through the reload machine, and its invariants after every step.

use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

fn files(names: &[&str]) -> BTreeSet<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

fn save(name: &str, millis: u64) -> Input {
    Input::Wanted(Cause::changed(files(&[name]), at(millis)))
}

fn loaded(generation: u64) -> Input {
    Input::Loaded { generation: GenerationId(generation), moved: BTreeSet::new() }
}

fn broken(generation: u64) -> Input {
    let moved = BTreeSet::new();
    Input::Broken { generation: GenerationId(generation), moved, by: BrokenBy::Itself }
}

fn same(generation: u64, moved: &[&str]) -> Input {
    Input::Same { generation: GenerationId(generation), moved: files(moved) }
}

fn crashed(generation: u64) -> Input {
    let moved = BTreeSet::new();
    Input::Broken { generation: GenerationId(generation), moved, by: BrokenBy::Crash }
}

fn machine(on_broken: OnBroken) -> Machine {
    Machine::new(Policy { on_broken, canary_jobs: 0, restarts_max: 10 }, at(0))
}

/// A machine whose generation 1 serves.
fn serving(on_broken: OnBroken) -> Machine {
    let mut machine = machine(on_broken);
    machine.handle(at(0), Input::BaseReady);
    machine.handle(at(0), loaded(1));
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    machine
}

fn numbers(effects: &[Effect]) -> Vec<(&'static str, u64)> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Load(id, _) => ("load", id.0),
            Effect::Serve(id, _) => ("serve", id.0),
            Effect::Retire(id) => ("retire", id.0),
            Effect::Discard(id) => ("discard", id.0),
            Effect::Announce { broken, .. } => ("announce", broken.0),
            Effect::Try(id, _) => ("try", id.0),
            Effect::Promote(id) => ("promote", id.0),
            Effect::RollBack { to, .. } => ("back to", to.0),
            Effect::Abandon(id) => ("abandon", id.0),
            Effect::GiveUp { deaths } => ("give up", u64::from(*deaths)),
        })
        .collect()
}

#[test]
fn nothing_loads_before_a_base_is_ready() {
    let mut machine = machine(OnBroken::Keep);
    assert_eq!(machine.handle(at(1), save("a.py", 1)), []);
    assert_eq!(numbers(&machine.handle(at(2), Input::BaseReady)), [("load", 1)]);
    assert_eq!(machine.availability(), Availability::Wait);
}

#[test]
fn a_save_makes_jobs_wait_until_the_new_generation_serves() {
    let mut machine = serving(OnBroken::Keep);
    assert_eq!(numbers(&machine.handle(at(1), save("a.py", 1))), [("load", 2)]);
    assert_eq!(machine.availability(), Availability::Wait);
    assert_eq!(numbers(&machine.handle(at(2), loaded(2))), [("serve", 2)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(2)));
}

#[test]
fn a_hundred_saves_during_loading_are_one_more_generation() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    for n in 0..100 {
        assert_eq!(machine.handle(at(2 + n), save(&format!("{n}.py"), 2 + n)), []);
    }
    let effects = machine.handle(at(200), loaded(2));
    assert_eq!(numbers(&effects), [("serve", 2), ("load", 3)]);
    let Some(Effect::Load(_, cause)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!((cause.changed.len(), cause.seen), (100, at(2)));
    assert_eq!(machine.availability(), Availability::Wait);
}

#[test]
fn the_same_code_leaves_what_serves_in_place() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    assert_eq!(numbers(&machine.handle(at(2), same(2, &[]))), [("discard", 2)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    machine.handle(at(3), save("a.py", 3));
    let effects = machine.handle(at(4), same(3, &["a.py"]));
    assert_eq!(numbers(&effects), [("discard", 3), ("load", 4)], "it changed once more");
    assert_eq!(machine.availability(), Availability::Wait);
    assert_eq!(machine.handle(at(5), same(3, &[])), [], "it is not loading any more");
}

#[test]
fn what_was_learned_makes_nobody_wait() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), Input::Wanted(Cause::learned(at(1))));
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    assert_eq!(numbers(&machine.handle(at(2), loaded(2))), [("serve", 2), ("retire", 1)]);
}

#[test]
fn keep_serves_the_last_good_generation_and_hold_does_not() {
    for (on_broken, while_broken) in [
        (OnBroken::Keep, Availability::Serve(GenerationId(1))),
        (OnBroken::Hold, Availability::Hold),
    ] {
        let mut machine = serving(on_broken);
        machine.handle(at(1), save("a.py", 1));
        let effects = machine.handle(at(2), broken(2));
        assert_eq!(numbers(&effects), [("discard", 2), ("announce", 2)]);
        assert_eq!(machine.availability(), while_broken);
        machine.handle(at(3), save("a.py", 3));
        machine.handle(at(4), loaded(3));
        assert_eq!(machine.availability(), Availability::Serve(GenerationId(3)));
    }
}

#[test]
fn without_any_good_generation_jobs_are_held() {
    let mut machine = machine(OnBroken::Keep);
    machine.handle(at(0), Input::BaseReady);
    machine.handle(at(1), broken(1));
    assert_eq!(machine.availability(), Availability::Hold);
}

#[test]
fn a_tree_that_moved_while_loading_is_loaded_again_but_not_for_ever() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let mut generation = 2;
    loop {
        let input = Input::Loaded { generation: GenerationId(generation), moved: files(&["a.py"]) };
        let effects = machine.handle(at(generation), input);
        if numbers(&effects)[0].0 == "serve" {
            break;
        }
        assert_eq!(numbers(&effects), [("discard", generation), ("load", generation + 1)]);
        generation += 1;
    }
    assert_eq!(generation, 2 + u64::from(MOVED_MAX));
    assert_eq!(machine.availability(), Availability::Wait, "and it goes on trying");
}

#[test]
fn one_that_survives_no_fork_is_loaded_again_without_what_it_imported() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let effects = machine.handle(at(2), Input::Unfit(GenerationId(2)));
    assert_eq!(numbers(&effects), [("discard", 2), ("load", 3)]);
    assert_eq!(machine.availability(), Availability::Wait, "for the same reason");
}

#[test]
fn half_of_a_change_that_cannot_be_imported_is_not_called_broken() {
    let mut machine = serving(OnBroken::Hold);
    machine.handle(at(1), save("a.py", 1));
    let (generation, moved) = (GenerationId(2), files(&["b.py"]));
    let input = Input::Broken { generation, moved, by: BrokenBy::Itself };
    assert_eq!(numbers(&machine.handle(at(2), input)), [("discard", 2), ("load", 3)]);
    assert_eq!(machine.availability(), Availability::Wait);
}

#[test]
fn code_that_is_broken_however_often_it_is_loaded_is_called_so() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let mut generation = 2;
    while !machine.newest_is_broken() {
        let (moved, by) = (files(&["a.py"]), BrokenBy::Itself);
        let input = Input::Broken { generation: GenerationId(generation), moved, by };
        machine.handle(at(generation), input);
        generation += 1;
    }
    assert_eq!(generation, 3 + u64::from(MOVED_MAX));
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
}

#[test]
fn a_generation_that_dies_is_replaced_so_often_and_then_waits_for_a_save() {
    let mut machine = serving(OnBroken::Keep);
    let mut now = at(0);
    let mut pauses = Vec::new();
    for generation in 1..11 {
        let mut effects = machine.handle(now, Input::Died(GenerationId(generation)));
        assert_eq!(machine.availability(), Availability::Wait);
        if let Some(due) = machine.retry() {
            assert_eq!(effects, []);
            pauses.push(due.since(now).as_secs());
            now = due;
            effects = machine.handle(now, Input::Tick);
        }
        assert_eq!(numbers(&effects), [("load", generation + 1)]);
        machine.handle(now, loaded(generation + 1));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(numbers(&machine.handle(now, Input::Died(GenerationId(11)))), [("give up", 11)]);
    assert_eq!((machine.retry(), machine.availability()), (None, Availability::Hold));
    assert_eq!(numbers(&machine.handle(now, save("a.py", 0))), [("load", 12)], "a save resets");
    machine.handle(now, loaded(12));
    machine.handle(now, Input::Died(GenerationId(12)));
    assert_eq!(machine.loading(), Some(GenerationId(13)), "at once");
}

#[test]
fn what_crashes_while_loading_is_broken_code_and_tried_again_only_if_nothing_serves() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    let effects = machine.handle(at(2), crashed(2));
    assert_eq!(numbers(&effects), [("discard", 2), ("announce", 2)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    assert_eq!(machine.retry(), None);

    let mut machine = self::machine(OnBroken::Keep);
    machine.handle(at(0), Input::BaseReady);
    let effects = machine.handle(at(0), crashed(1));
    assert_eq!(numbers(&effects), [("discard", 1), ("announce", 1), ("load", 2)]);
    assert_eq!(machine.availability(), Availability::Hold);
    machine.handle(at(0), crashed(2));
    assert_eq!(machine.retry(), Some(at(1_000)));
}

#[test]
fn a_save_ends_a_loading_that_takes_long_but_each_time_only_a_longer_one() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(0), save("a.py", 0));
    assert_eq!(machine.handle(at(900), save("a.py", 900)), []);
    let begun = machine.next_deadline();
    assert_eq!(begun, Some(at(1_000)));
    let effects = machine.handle(at(1_000), Input::Tick);
    assert_eq!(numbers(&effects), [("abandon", 2), ("load", 3)]);
    assert_eq!(machine.handle(at(2_500), save("a.py", 2_500)), [], "twice the patience");
    let effects = machine.handle(at(3_000), Input::Tick);
    assert_eq!(numbers(&effects), [("abandon", 3), ("load", 4)]);
    // A save every 100 ms, and imports of 3 s: this one is waited for.
    for now in (3_100..6_000).step_by(100) {
        assert_eq!(machine.handle(at(now), save("a.py", now)), []);
    }
    assert_eq!(numbers(&machine.handle(at(6_000), loaded(4))), [("serve", 4), ("load", 5)]);
    machine.handle(at(6_100), save("a.py", 6_100));
    assert_eq!(numbers(&machine.handle(at(7_000), Input::Tick)), [("abandon", 5), ("load", 6)]);
}

#[test]
fn one_that_loads_for_long_is_let_alone_while_nothing_newer_is_saved() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(0), save("a.py", 0));
    machine.handle(at(10), Input::Wanted(Cause::learned(at(10))));
    assert_eq!(machine.handle(at(60_000), Input::Tick), []);
}

/// A machine whose generation 2 serves because of a save, and 1 sleeps.
fn saved() -> Machine {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    assert_eq!(numbers(&machine.handle(at(2), loaded(2))), [("serve", 2)]);
    machine
}

#[test]
fn going_back_twice_leads_to_the_newer_again_and_a_save_to_the_newest() {
    let mut machine = saved();
    for (from, to) in [(2, 1), (1, 2), (2, 1)] {
        let target = (GenerationId(from), GenerationId(to));
        assert_eq!(machine.roll_back_target(), Some(target));
        assert_eq!(numbers(&machine.handle(at(3), Input::RollBack)), [("back to", to)]);
        assert_eq!(machine.availability(), Availability::Serve(target.1));
    }
    // What is on disk is newer, so what was learned does not load it.
    assert_eq!(machine.handle(at(4), Input::Wanted(Cause::learned(at(4)))), []);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    assert_eq!(numbers(&machine.handle(at(5), save("b.py", 5))), [("load", 3)]);
    assert_eq!(numbers(&machine.handle(at(6), loaded(3))), [("serve", 3), ("retire", 2)]);
    assert_eq!(machine.roll_back_target(), Some((GenerationId(3), GenerationId(1))));
}

#[test]
fn without_anything_to_go_back_to_nothing_happens() {
    let mut machine = serving(OnBroken::Keep);
    assert_eq!(machine.roll_back_target(), None);
    assert_eq!(machine.handle(at(1), Input::RollBack), []);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
}

#[test]
fn a_sleeping_generation_is_let_go_in_time() {
    let mut machine = saved();
    let until = at(2) + SLEEP_MAX;
    assert_eq!(machine.next_deadline(), Some(until));
    assert_eq!(numbers(&machine.handle(until, Input::Tick)), [("retire", 1)]);
    assert_eq!(machine.roll_back_target(), None);
    assert_eq!(machine.next_deadline(), None);
}

#[test]
fn the_same_code_again_takes_no_place_of_what_can_be_gone_back_to() {
    let mut machine = saved();
    machine.handle(at(3), Input::Wanted(Cause::learned(at(3))));
    assert_eq!(numbers(&machine.handle(at(4), loaded(3))), [("serve", 3), ("retire", 2)]);
    assert_eq!(machine.roll_back_target(), Some((GenerationId(3), GenerationId(1))));
}

#[test]
fn going_back_while_newer_code_loads_gives_that_up() {
    let mut machine = serving(OnBroken::Keep);
    machine.handle(at(1), save("a.py", 1));
    machine.handle(at(2), save("b.py", 2));
    let effects = machine.handle(at(3), Input::RollBack);
    assert_eq!(numbers(&effects), [("abandon", 2), ("back to", 1)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    assert_eq!(machine.handle(at(4), loaded(2)), [], "too late");
}

#[test]
fn going_back_ends_a_hold() {
    let mut machine = serving(OnBroken::Hold);
    machine.handle(at(1), save("a.py", 1));
    machine.handle(at(2), broken(2));
    assert_eq!(machine.availability(), Availability::Hold);
    assert_eq!(numbers(&machine.handle(at(3), Input::RollBack)), [("back to", 1)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
}

#[test]
fn one_that_ends_soon_after_a_save_is_gone_back_from() {
    let soon = at(2) + CRASH_SOON / 2;
    let mut machine = saved();
    assert_eq!(numbers(&machine.handle(soon, Input::Died(GenerationId(2)))), [("back to", 1)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(1)));
    assert!(machine.is_rolled_back());
    // The old one is not new code: its end is a death like any other.
    assert_eq!(numbers(&machine.handle(soon, Input::Died(GenerationId(1)))), [("load", 3)]);

    let mut machine = saved();
    let late = at(2) + CRASH_SOON;
    assert_eq!(numbers(&machine.handle(late, Input::Died(GenerationId(2)))), [("load", 3)]);
}

/// A machine whose generation 2 is a canary for so many jobs.
fn canary(jobs: u32) -> Machine {
    let policy = Policy { on_broken: OnBroken::Keep, canary_jobs: jobs, restarts_max: 10 };
    let mut machine = Machine::new(policy, at(0));
    machine.handle(at(0), Input::BaseReady);
    assert_eq!(numbers(&machine.handle(at(0), loaded(1))), [("serve", 1)], "nothing was before");
    machine.handle(at(1), save("a.py", 1));
    assert_eq!(numbers(&machine.handle(at(2), loaded(2))), [("try", 2)]);
    machine
}

fn trial(machine: &mut Machine, verdict: Verdict) -> Vec<(&'static str, u64)> {
    let id = machine.canary().unwrap();
    assert_eq!(machine.available_to(Wish::Job), Availability::Serve(id));
    machine.handle(at(3), Input::TrialBegun(id));
    let serving = machine.availability();
    assert_eq!(machine.available_to(Wish::Job), serving, "one job at a time");
    numbers(&machine.handle(at(4), Input::TrialEnded(id, verdict)))
}

#[test]
fn a_canary_serves_after_its_jobs_and_a_job_that_says_nothing_does_not_count() {
    let mut machine = canary(2);
    assert_eq!(machine.available_to(Wish::Settled), Availability::Serve(GenerationId(1)));
    assert_eq!(trial(&mut machine, Verdict::Passed), []);
    assert_eq!(trial(&mut machine, Verdict::Void), []);
    assert_eq!(trial(&mut machine, Verdict::Passed), [("promote", 2)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(2)));
    assert_eq!(machine.roll_back_target(), Some((GenerationId(2), GenerationId(1))));
}

#[test]
fn a_canary_that_fails_or_dies_never_serves() {
    let mut machine = canary(2);
    assert_eq!(trial(&mut machine, Verdict::Failed), [("back to", 1)]);
    assert_eq!((machine.canary(), machine.is_rolled_back()), (None, true));
    assert_eq!(machine.available_to(Wish::Job), Availability::Serve(GenerationId(1)));
    // Whoever knows better can still have it.
    assert_eq!(machine.roll_back_target(), Some((GenerationId(1), GenerationId(2))));

    let mut machine = canary(2);
    assert_eq!(numbers(&machine.handle(at(3), Input::Died(GenerationId(2)))), [("back to", 1)]);
    assert_eq!(machine.roll_back_target(), None);
}

#[test]
fn a_canary_is_all_there_is_when_the_one_that_served_dies() {
    let mut machine = canary(2);
    assert_eq!(numbers(&machine.handle(at(3), Input::Died(GenerationId(1)))), [("promote", 2)]);
    assert_eq!(machine.availability(), Availability::Serve(GenerationId(2)));
}

#[test]
fn newer_code_takes_the_place_of_a_canary_and_what_was_learned_waits_for_it() {
    let mut machine = canary(2);
    assert_eq!(machine.handle(at(3), Input::Wanted(Cause::learned(at(3)))), []);
    assert_eq!(numbers(&machine.handle(at(4), save("b.py", 4))), [("load", 3)]);
    assert_eq!(numbers(&machine.handle(at(5), loaded(3))), [("try", 3), ("retire", 2)]);
    assert_eq!(machine.serving(), Some(GenerationId(1)));
    machine.handle(at(6), save("b.py", 6));
    let effects = machine.handle(at(7), same(4, &[]));
    assert_eq!(numbers(&effects), [("discard", 4), ("retire", 3)], "it is as before");
    assert_eq!(machine.available_to(Wish::Job), Availability::Serve(GenerationId(1)));
}

#[test]
fn a_job_that_one_generation_does_not_know_goes_to_another_that_lives() {
    let machine = saved();
    let to_other = |id| machine.available_to(Wish::OtherThan(GenerationId(id)));
    assert_eq!(to_other(2), Availability::Serve(GenerationId(1)));
    assert_eq!(to_other(1), Availability::Serve(GenerationId(2)));
    let machine = canary(1);
    let other = machine.available_to(Wish::OtherThan(GenerationId(2)));
    assert_eq!(other, Availability::Serve(GenerationId(1)));
    let machine = serving(OnBroken::Keep);
    let other = machine.available_to(Wish::OtherThan(GenerationId(1)));
    assert_eq!(other, Availability::Serve(GenerationId(1)), "there is no other");
}

/// What a generation has been through, as the effects say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Loading,
    /// It has loaded, and was told to serve or to be a canary.
    Good,
    /// It has ended, or was told to.
    Ended,
}

fn live(lives: &mut std::collections::BTreeMap<GenerationId, Life>, effect: &Effect) {
    let mut set = |id: GenerationId, from: Option<Life>, to: Life| {
        assert_eq!(lives.insert(id, to), from, "{effect:?}");
    };
    match effect {
        Effect::Load(id, _) => set(*id, None, Life::Loading),
        Effect::Serve(id, _) | Effect::Try(id, _) => set(*id, Some(Life::Loading), Life::Good),
        Effect::Promote(id) | Effect::RollBack { to: id, .. } => {
            set(*id, Some(Life::Good), Life::Good);
        }
        // Nothing is told to end twice, and nothing that is told to end served before it loaded.
        Effect::Retire(id) => set(*id, Some(Life::Good), Life::Ended),
        Effect::Discard(id) | Effect::Abandon(id) => set(*id, Some(Life::Loading), Life::Ended),
        Effect::Announce { .. } | Effect::GiveUp { .. } => {}
    }
}

/// Invariants over many random sequences: one loading at a time; what serves, sleeps or is on trial
/// has been loaded and has not ended; each is told to end at most once; at most three of them live;
/// broken code never takes over; and there is always a way on.
#[test]
fn invariants_hold_over_random_sequences() {
    for seed in 0..1_000_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let on_broken = if seed % 2 == 0 { OnBroken::Keep } else { OnBroken::Hold };
        let canary_jobs = if seed % 3 == 0 { 2 } else { 0 };
        let policy = Policy { on_broken, canary_jobs, restarts_max: 4 };
        let mut machine = Machine::new(policy, at(0));
        let mut lives = std::collections::BTreeMap::new();
        let mut now = 0;
        for _ in 0..300 {
            now += [0, 1, 400, 3_000, 400_000][next(5) as usize];
            let target = machine.loading().or(machine.serving()).unwrap_or(GenerationId(1));
            let canary = machine.canary().unwrap_or(target);
            let alive: Vec<_> = lives.iter().filter(|(_, life)| **life == Life::Good).collect();
            let alive = alive.get(next(4) as usize).map_or(target, |(id, _)| **id);
            let moved = if next(4) == 0 { files(&["m.py"]) } else { BTreeSet::new() };
            let input = match next(17) {
                0 => Input::BaseReady,
                1 => Input::BaseGone,
                2 | 3 => save("s.py", now),
                4 => Input::Wanted(Cause::learned(at(now))),
                5 => Input::Broken { generation: target, moved, by: BrokenBy::Crash },
                6 => Input::Broken { generation: target, moved, by: BrokenBy::Itself },
                7 => {
                    if lives.get(&alive) == Some(&Life::Good) {
                        lives.insert(alive, Life::Ended);
                    }
                    Input::Died(alive)
                }
                8 => Input::TrialBegun(canary),
                9 => Input::TrialEnded(canary, Verdict::Passed),
                10 => Input::TrialEnded(canary, Verdict::Failed),
                11 => Input::RollBack,
                12 => Input::Tick,
                13 => Input::Unfit(target),
                14 => Input::Same { generation: target, moved },
                _ => Input::Loaded { generation: target, moved },
            };
            for effect in machine.handle(at(now), input) {
                live(&mut lives, &effect);
            }
            let with = |life| lives.iter().filter(move |(_, its)| **its == life).map(|(id, _)| *id);
            let loading: Vec<_> = with(Life::Loading).collect();
            assert_eq!(loading, machine.loading().into_iter().collect::<Vec<_>>(), "seed {seed}");
            let good: Vec<_> = with(Life::Good).collect();
            assert!(good.len() <= 3, "seed {seed}: {good:?}");
            assert!(good.iter().all(|id| machine.is_alive(*id)), "seed {seed}: {good:?} leaks");
            for wish in [Wish::Job, Wish::Settled, Wish::OtherThan(target)] {
                match machine.available_to(wish) {
                    Availability::Serve(id) => assert!(good.contains(&id), "seed {seed}: {id}"),
                    Availability::Hold => assert_eq!(machine.loading_code(), None),
                    // Nobody waits for ever: something loads, is due, or waits for a base.
                    Availability::Wait => assert!(
                        machine.loading.is_some() || machine.wanted.is_some(),
                        "seed {seed}: waits for nothing"
                    ),
                }
            }
        }
    }
}
