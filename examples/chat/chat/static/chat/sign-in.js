// Choosing a demo person fills the form and signs in.

for (const button of document.querySelectorAll(".person")) {
  button.addEventListener("click", () => {
    document.getElementById("id_username").value = button.dataset.name;
    const password = document.getElementById("id_password");
    password.value = button.dataset.password;
    password.form.requestSubmit();
  });
}
