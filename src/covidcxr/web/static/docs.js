/* Shows the description of the interfaces with Swagger UI, which the page has loaded before. */

const element = document.getElementById("description");
SwaggerUIBundle({
  url: element.dataset.url,
  domNode: element,
  deepLinking: true,
  validatorUrl: null, // it would ask another host
});
