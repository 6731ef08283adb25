//! The shop on this machine: one process that holds its data folder.
//!
//! [`lock`] says who holds the folder and where it answers, [`serve`] runs the shop in this process, and
//! [`welcome`] is what it then tells; [`launch`] runs it in another one, [`checks`] says what must be in place
//! before, [`figures`] how busy it is, and [`evidence`] where its data and its traces lie.

pub mod checks;
pub mod evidence;
pub mod figures;
pub mod launch;
pub mod lock;
pub mod pages;
pub mod port;
pub mod serve;
pub mod signals;
pub mod welcome;
