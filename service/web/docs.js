// The API documentation: swagger-ui on our own openapi.json. Nothing leaves the origin (no validator badge, no fonts).
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
});
