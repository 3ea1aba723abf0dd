//! The forwards of a driver, which come and go.

use std::io;

use mio::Registry;
use mio::event::Event;

use super::Listener;
use crate::error::{self, StartError, StartErrors};
use crate::settings::Forward;

/// A forward of a driver. It names none any more once that is removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ForwardId {
    place: usize,
    /// Each forward of a driver has a number of its own.
    number: u64,
}

/// A forward that listens.
#[derive(Debug)]
struct OpenForward {
    number: u64,
    /// With the address where it really listens.
    forward: Forward,
    listener: Listener,
}

/// The forwards that listen, each at its place, by which events and flows of its clients name it.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    places: Vec<Option<OpenForward>>,
    next_number: u64,
}

impl Forwards {
    /// Binds every forward, or says of each that can't be bound why.
    pub(crate) fn bind_all(
        forwards: Vec<Forward>,
        registry: &Registry,
    ) -> Result<Self, StartErrors> {
        let mut all = Self::default();
        let bind = |(index, forward)| all.bind(forward, index, registry);
        error::all_of(forwards.into_iter().enumerate().map(bind))?;
        Ok(all)
    }

    /// Binds one more; in an error it is the forward of this `index`.
    pub(crate) fn bind(
        &mut self,
        mut forward: Forward,
        index: usize,
        registry: &Registry,
    ) -> Result<ForwardId, StartError> {
        let place = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        let listener = match Listener::bind(&forward, place, registry) {
            Ok(listener) => listener,
            Err(error) => return Err(refused(forward, index, error)),
        };
        let number = self.next_number;
        self.next_number += 1;
        forward.listen = listener.local();
        let open = Some(OpenForward { number, forward, listener });
        match self.places.get_mut(place) {
            Some(free) => *free = open,
            None => self.places.push(open),
        }
        Ok(ForwardId { place, number })
    }

    /// Closes a listener. Returns its place, and what it was; `None` if it is gone already.
    pub(crate) fn remove(&mut self, id: ForwardId) -> Option<(usize, Forward)> {
        let place = self.places.get_mut(id.place)?;
        let OpenForward { forward, .. } = place.take_if(|open| open.number == id.number)?;
        while self.places.pop_if(|last| last.is_none()).is_some() {}
        Some((id.place, forward))
    }

    /// Those that listen, by their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ForwardId, &Forward)> {
        self.open().map(|(place, open)| (ForwardId { place, number: open.number }, &open.forward))
    }

    fn open(&self) -> impl Iterator<Item = (usize, &OpenForward)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, open)| Some((place, open.as_ref()?)))
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.open().map(|(_, open)| &open.listener)
    }

    /// How many listen.
    pub(crate) fn len(&self) -> usize {
        self.open().count()
    }

    /// No listener has this place or a later one.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn listener(&self, place: usize) -> Option<&Listener> {
        self.places.get(place)?.as_ref().map(|open| &open.listener)
    }

    pub(crate) fn listener_mut(&mut self, place: usize) -> Option<&mut Listener> {
        self.places.get_mut(place)?.as_mut().map(|open| &mut open.listener)
    }

    /// Notes what the system says about a socket.
    pub(crate) fn note(&mut self, place: usize, event: &Event) {
        if let Some(listener) = self.listener_mut(place) {
            listener.note(event);
        }
    }
}

/// Why a forward does not listen.
pub(crate) fn refused(forward: Forward, index: usize, error: io::Error) -> StartError {
    let Forward { name, listen: address, .. } = forward;
    StartError::Forward { index, name, address, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ForwardProtocol;

    #[test]
    fn every_forward_whose_port_is_taken_is_named() {
        let poll = mio::Poll::new().unwrap();
        for protocol in [ForwardProtocol::Tcp, ForwardProtocol::Udp] {
            let to = "10.0.0.1:80".parse().unwrap();
            let forward = |listen| Forward::new(protocol, listen, to).with_name("web");
            let free = forward("127.0.0.1:0".parse().unwrap());
            let first = Forwards::bind_all(vec![free], poll.registry()).unwrap();
            let (id, open) = first.iter().next().unwrap();
            let taken = open.listen;
            assert_ne!(taken.port(), 0);
            let free = forward("127.0.0.1:0".parse().unwrap());
            let (good, bad) = (free, forward(taken));
            let forwards = vec![bad.clone(), good, bad.clone()];
            let errors = Forwards::bind_all(forwards, poll.registry()).unwrap_err();
            let places: Vec<_> = errors
                .iter()
                .map(|error| match error {
                    StartError::Forward { index, .. } => *index,
                    other => panic!("{other}"),
                })
                .collect();
            assert_eq!(places, [0, 2]);
            let line = format!("{taken} (forward web): address in use");
            assert_eq!(errors.to_string(), format!("{line}\n{line}"));
            let mut first = first;
            assert_eq!(first.remove(id).map(|(place, _)| place), Some(0));
            let again = first.bind(bad, 0, poll.registry()).unwrap();
            assert!(first.remove(id).is_none(), "the place is another's");
            assert_eq!(first.iter().map(|(id, _)| id).collect::<Vec<_>>(), [again]);
        }
    }
}
