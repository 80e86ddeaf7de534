//! Values of the application that belong to one client.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

type Values = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// Values of the application that belong to one client, at most one of each type. Returned by
/// [`Client::extensions`](super::Client::extensions).
///
/// They are dropped with the client: when the last handle to it is gone.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use outrace::Hub;
///
/// #[derive(Default)]
/// struct Seen(AtomicU32);
///
/// let hub = Hub::builder()
///     .on_message(|client, _| {
///         let seen = client.extensions().get_or_default::<Seen>();
///         // Relaxed: a count, which orders nothing.
///         if seen.0.fetch_add(1, Ordering::Relaxed) == 100 {
///             client.close();
///         }
///     })
///     .build()?;
/// # Ok::<(), outrace::ConfigError>(())
/// ```
#[derive(Default)]
pub struct ClientExtensions {
    /// `None` until the first value, since most clients have none. Locked for one look-up at a
    /// time: no value is dropped and no code of the application runs meanwhile.
    values: Mutex<Option<Box<Values>>>,
}

impl ClientExtensions {
    /// Returns the value of type `T`.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = lock(&self.values)
            .as_ref()?
            .get(&TypeId::of::<T>())
            .map(Arc::clone)?;
        value.downcast().ok()
    }

    /// Returns the value of type `T`, and inserts its default first if there is none.
    pub fn get_or_default<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        if let Some(value) = self.get() {
            return value;
        }
        let new = Arc::new(T::default());
        let value = lock(&self.values)
            .get_or_insert_default()
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::clone(&new) as Arc<_>)
            .clone();
        value.downcast().unwrap_or(new)
    }

    /// Inserts a value. Returns the earlier one of its type.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        let earlier = lock(&self.values)
            .get_or_insert_default()
            .insert(TypeId::of::<T>(), value);
        earlier?.downcast().ok()
    }

    /// Removes the value of type `T`, and returns it.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let removed = lock(&self.values).as_mut()?.remove(&TypeId::of::<T>());
        removed?.downcast().ok()
    }
}

impl fmt::Debug for ClientExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = lock(&self.values).as_ref().map_or(0, |values| values.len());
        f.debug_struct("ClientExtensions")
            .field("values", &values)
            .finish()
    }
}

#[cfg(all(test, not(outrace_loom)))]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let extensions = ClientExtensions::default();
        assert_eq!(extensions.get::<u32>(), None);
        assert_eq!(extensions.remove::<u32>(), None);
        assert_eq!(extensions.insert(1_u32), None);
        assert_eq!(extensions.insert("text"), None);
        assert_eq!(extensions.insert(2_u32).as_deref(), Some(&1));
        assert_eq!(*extensions.get_or_default::<u32>(), 2);
        assert_eq!(*extensions.get_or_default::<u64>(), 0);
        assert_eq!(extensions.get::<&str>().as_deref(), Some(&"text"));
        assert_eq!(extensions.remove::<u32>().as_deref(), Some(&2));
        assert_eq!(extensions.get::<u32>(), None);
    }
}
