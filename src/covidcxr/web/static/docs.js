/* Shows the description of the APIs with Swagger UI, which the page loads before this script. */

const element = document.getElementById("description");
SwaggerUIBundle({
  url: element.dataset.url,
  domNode: element,
  deepLinking: true,
  validatorUrl: null, // it would contact another host
});
